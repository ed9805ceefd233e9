//! The dashboard for Grafana: a panel for each tile, with its limit.

use serde_json::{Value, json};

use crate::metrics::Unit;
use crate::tiles::{SECTIONS, Tile};

/// Columns of a row in Grafana, and of a panel.
const COLUMNS: usize = 24;
const PANEL_COLUMNS: usize = 6;
const PANEL_ROWS: usize = 6;

fn unit(tile: &Tile) -> &'static str {
    match (tile.unit, tile.per_second) {
        (Unit::Bytes, true) => "binBps",
        (Unit::Bytes, false) => "bytes",
        (Unit::Seconds, _) => "s",
        (Unit::Ratio, _) => "percentunit",
        (Unit::Count | Unit::Chips, true) => "ops",
        (Unit::Count | Unit::Chips, false) | (Unit::Level, _) => "short",
    }
}

fn panel(tile: &Tile, id: usize, x: usize, y: usize) -> Value {
    let source = json!({ "type": "prometheus", "uid": "${source}" });
    let mut targets =
        vec![json!({ "refId": "A", "expr": tile.value.promql(), "legendFormat": tile.title, "datasource": source })];
    if let Some(limit) = &tile.limit {
        let name = format!("{:?}", limit.kind).to_lowercase();
        targets.push(json!({ "refId": "B", "expr": limit.value.promql(), "legendFormat": name, "datasource": source }));
    }
    json!({
        "id": id,
        "type": "timeseries",
        "title": tile.title,
        "datasource": source,
        "gridPos": { "h": PANEL_ROWS, "w": PANEL_COLUMNS, "x": x, "y": y },
        "fieldConfig": { "defaults": { "unit": unit(tile), "min": 0 }, "overrides": [] },
        "options": { "legend": { "showLegend": false }, "tooltip": { "mode": "multi" } },
        "targets": targets,
    })
}

/// The dashboard, as Grafana imports it.
pub fn grafana() -> String {
    let (mut panels, mut y) = (Vec::new(), 0);
    for section in &SECTIONS {
        let id = panels.len() + 1;
        panels.push(json!({ "id": id, "type": "row", "title": section.title, "collapsed": false, "panels": [],
            "gridPos": { "h": 1, "w": COLUMNS, "x": 0, "y": y } }));
        y += 1;
        for (place, tile) in section.tiles.iter().enumerate() {
            let x = place * PANEL_COLUMNS % COLUMNS;
            let below = place * PANEL_COLUMNS / COLUMNS * PANEL_ROWS;
            panels.push(panel(tile, panels.len() + 1, x, y + below));
        }
        y += section.tiles.len().div_ceil(COLUMNS / PANEL_COLUMNS) * PANEL_ROWS;
    }
    let source = json!({ "name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus" });
    let dashboard = json!({
        "uid": "bitcraps",
        "title": "BitCraps",
        "schemaVersion": 39,
        "refresh": "5s",
        "time": { "from": "now-15m", "to": "now" },
        "templating": { "list": [source] },
        "panels": panels,
    });
    let mut text = serde_json::to_string_pretty(&dashboard).expect("a dashboard is plain data");
    text.push('\n');
    text
}
