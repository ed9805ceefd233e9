//! Plots as inline SVG. The page's style has the colours, so that one drawing serves light, dark and paper; a crate that
//! draws would fix them, and needs more calls than this file has lines to be told the axes.

mod scale;

use std::fmt::Write;

pub use scale::Scale;

use super::text::escape;
use scale::ROWS;

/// One axis: what it counts, and how.
pub struct Axis {
    /// The words beside the axis: what is counted along it, and in which unit.
    pub title: String,
    /// Where values lie.
    pub scale: Scale,
}

/// One line of a plot. A mark that is not finite leaves a gap.
pub struct Line {
    /// What is written beside it.
    pub name: String,
    /// The line's colour, an index into those of the page.
    pub colour: usize,
    /// Whether the line is broad, so that it is seen below another.
    pub broad: bool,
    /// How the line is dashed, another index, for eyes and paper without colours.
    pub dash: usize,
    /// The points that the line runs through, across and up.
    pub marks: Vec<(f64, f64)>,
}

/// A straight line at a target.
pub struct Limit {
    /// What is written beside it.
    pub name: String,
    /// The target, as the axis counts.
    pub value: f64,
    /// Whether the target is one of the axis across, so that its line is upright.
    pub upright: bool,
}

/// One plot.
pub struct Plot {
    /// What the plot shows, for those who cannot see it.
    pub title: String,
    /// The axis from left to right.
    pub across: Axis,
    /// The axis from bottom to top.
    pub up: Axis,
    /// The lines; later ones lie on top.
    pub lines: Vec<Line>,
    /// A target, if there is one.
    pub limit: Option<Limit>,
}

/// Where a drawing goes, in the pixels of its own box.
#[derive(Clone, Copy)]
pub struct Size {
    class: &'static str,
    width: f64,
    tall: f64,
    /// Gridlines of the axis across.
    columns: usize,
}

/// On a screen or a sheet.
pub const WIDE: Size = Size { class: "wide", width: 880.0, tall: 330.0, columns: 13 };
/// On a telephone.
pub const NARROW: Size = Size { class: "narrow", width: 360.0, tall: 300.0, columns: 6 };

/// What a drawing is taller whose lines climb, so that its lowest gridlines stay apart.
const CLIMB: f64 = 90.0;
/// The size of letters, and about how wide one is.
const LETTER: f64 = 12.0;
const LETTER_WIDE: f64 = 7.8;
/// The least distance of two labels.
const LABEL_APART: f64 = 15.0;

/// The box inside the axes.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Frame {
    fn x(&self, axis: &Axis, value: f64) -> f64 {
        self.left + axis.scale.place(value) * (self.right - self.left)
    }

    fn y(&self, axis: &Axis, value: f64) -> f64 {
        self.bottom - axis.scale.place(value) * (self.bottom - self.top)
    }
}

/// A label and where it stands.
struct Label<'a> {
    x: f64,
    y: f64,
    text: &'a str,
    class: String,
}

impl Plot {
    /// The drawing.
    pub fn svg(&self, size: Size) -> String {
        let widest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0) as f64 * LETTER_WIDE;
        let up = self.up.scale.grid(ROWS);
        let tall = if self.climbs() { size.tall + CLIMB } else { size.tall };
        let names = widest(&mut self.lines.iter().map(|line| line.name.chars().count()));
        let frame = Frame {
            left: widest(&mut up.iter().map(|(_, text)| text.chars().count())) + 10.0,
            right: size.width - if self.climbs() { 14.0 } else { names + 12.0 },
            top: 30.0,
            bottom: tall - 38.0,
        };
        let mut svg = format!(
            "<svg class=\"plot {}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">",
            size.class,
            size.width,
            tall,
            escape(&self.title)
        );
        self.draw_axes(&mut svg, &frame, size, &up);
        if let Some(limit) = &self.limit {
            self.draw_limit(&mut svg, &frame, limit);
        }
        for line in &self.lines {
            self.draw_line(&mut svg, &frame, line);
        }
        for label in self.labels(&frame) {
            text(&mut svg, label.x, label.y, &label.class, label.text);
        }
        svg + "</svg>"
    }

    /// Lines over time end at the right edge and are named there; those that climb to the top are named on their way.
    fn climbs(&self) -> bool {
        matches!(self.up.scale, Scale::Nines { .. })
    }

    fn draw_axes(&self, svg: &mut String, frame: &Frame, size: Size, up: &[(f64, String)]) {
        let Frame { left, right, top, bottom } = *frame;
        for (value, label) in up {
            let y = frame.y(&self.up, *value);
            straight(svg, "grid", [left, y, right, y]);
            text(svg, left - 6.0, y + 4.0, "number end", label);
        }
        for (value, label) in self.across.scale.grid(size.columns) {
            let x = frame.x(&self.across, value);
            straight(svg, "grid", [x, top, x, bottom]);
            text(svg, x, bottom + 16.0, "number middle", &label);
        }
        straight(svg, "axis", [left, bottom, right, bottom]);
        straight(svg, "axis", [left, top, left, bottom]);
        text(svg, 0.0, 12.0, "title", &self.up.title);
        text(svg, right, bottom + 33.0, "title end", &self.across.title);
    }

    fn draw_limit(&self, svg: &mut String, frame: &Frame, limit: &Limit) {
        let Frame { left, right, top, bottom } = *frame;
        if limit.upright {
            let x = frame.x(&self.across, limit.value);
            straight(svg, "limit", [x, top, x, bottom]);
            // Above the frame, where no line runs.
            let half = limit.name.chars().count() as f64 * LETTER_WIDE / 2.0;
            text(svg, x.min(right - half).max(left + half), top - 4.0, "label limit-text middle", &limit.name);
        } else {
            let y = frame.y(&self.up, limit.value);
            straight(svg, "limit", [left, y, right, y]);
            text(svg, right - 4.0, y - 5.0, "label limit-text end", &limit.name);
        }
    }

    fn draw_line(&self, svg: &mut String, frame: &Frame, line: &Line) {
        let class = line.class();
        for run in line.marks.split(|mark| !is_finite(mark)).filter(|run| !run.is_empty()) {
            let place = |(x, y): &(f64, f64)| (frame.x(&self.across, *x), frame.y(&self.up, *y));
            if let [only] = run {
                let (x, y) = place(only);
                push(svg, format_args!("<circle class=\"c{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>", line.colour));
                continue;
            }
            push(svg, format_args!("<path class=\"{class}\" d=\""));
            let mut before = String::new();
            for (index, mark) in run.iter().enumerate() {
                let (x, y) = place(mark);
                let next = format!("{x:.1} {y:.1}");
                if next != before {
                    push(svg, format_args!("{}{next}", if index == 0 { "M" } else { "L" }));
                    before = next;
                }
            }
            svg.push_str("\"/>");
        }
    }

    fn labels(&self, frame: &Frame) -> Vec<Label<'_>> {
        let named = self.lines.iter().filter(|line| line.marks.iter().any(is_finite));
        if self.climbs() { self.labels_on_the_way(frame, named) } else { self.labels_at_the_end(frame, named) }
    }

    /// Each label has a row of its own, so that none covers another. The lines further left have theirs on the left.
    fn labels_on_the_way<'a>(&self, frame: &Frame, lines: impl Iterator<Item = &'a Line>) -> Vec<Label<'a>> {
        let crossing = |(row, line): (usize, &'a Line)| {
            let y = frame.bottom - (frame.bottom - frame.top) * (0.36 + 0.1 * row as f64).min(0.95);
            let place = |mark: &(f64, f64)| (frame.x(&self.across, mark.0), frame.y(&self.up, mark.1));
            let places: Vec<_> = line.marks.iter().filter(|mark| is_finite(mark)).map(place).collect();
            // A line that begins above its row is named where it begins.
            let y = places.first().map_or(y, |first| first.1.min(y));
            let crossing = places.iter().find(|place| place.1 <= y).or(places.last());
            (crossing.map_or(frame.left, |place| place.0), y, line)
        };
        let mut crossings: Vec<_> = lines.enumerate().map(crossing).collect();
        crossings.sort_by(|one, other| one.0.total_cmp(&other.0));
        let left_count = crossings.len() / 2;
        let label = |(index, (x, y, line)): (usize, (f64, f64, &'a Line))| {
            let long = line.name.chars().count() as f64 * LETTER_WIDE + 8.0;
            let left = x + long > frame.right || (index < left_count && x - long > frame.left);
            let (x, side) = if left { (x - 8.0, " end") } else { (x + 8.0, "") };
            Label { x, y: y + 4.0, text: &line.name, class: format!("label c{}{side}", line.colour) }
        };
        crossings.into_iter().enumerate().map(label).collect()
    }

    /// Labels stand where their lines end, pushed apart, within the frame.
    fn labels_at_the_end<'a>(&self, frame: &Frame, lines: impl Iterator<Item = &'a Line>) -> Vec<Label<'a>> {
        let mut labels: Vec<Label<'a>> = lines
            .map(|line| {
                let last = line.marks.iter().rev().find(|mark| is_finite(mark));
                let y = last.map_or(frame.bottom, |(_, up)| frame.y(&self.up, *up)) + 4.0;
                Label { x: frame.right + 6.0, y, text: &line.name, class: format!("label c{}", line.colour) }
            })
            .collect();
        labels.sort_by(|one, other| one.y.total_cmp(&other.y));
        for index in 1..labels.len() {
            labels[index].y = labels[index].y.max(labels[index - 1].y + LABEL_APART);
        }
        let mut lowest = frame.bottom + 4.0;
        for label in labels.iter_mut().rev() {
            label.y = label.y.min(lowest);
            lowest = label.y - LABEL_APART;
        }
        labels
    }
}

impl Line {
    fn class(&self) -> String {
        format!("line c{} d{}{}", self.colour, self.dash, if self.broad { " broad" } else { "" })
    }
}

/// How a line looks, for a legend.
pub fn swatch(line: &Line) -> String {
    let class = line.class();
    format!(
        "<svg class=\"swatch\" viewBox=\"0 0 34 10\" aria-hidden=\"true\"><path class=\"{class}\" d=\"M1 5L33 5\"/></svg>"
    )
}

fn is_finite((across, up): &(f64, f64)) -> bool {
    across.is_finite() && up.is_finite()
}

fn straight(svg: &mut String, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
    push(svg, format_args!("<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>"));
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let text = escape(text);
    push(svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{LETTER}\" class=\"{class}\">{text}</text>"));
}

/// Appends to a page.
pub fn push(page: &mut String, part: std::fmt::Arguments<'_>) {
    page.write_fmt(part).expect("a string takes all that is written");
}
