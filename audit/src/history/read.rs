//! Reading: pages from the tiers, and where none has them from a walk, newest first.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use engine::limits::HISTORY_BEHIND_HEIGHTS;
use engine::message::intent::IntentKind;
use engine::{AccountId, Hash, Height};
use storage::snapshot::{Catalog, Ranges};
use systems::activity::ActiveKind;
use systems::{Machine, Setup};

use super::build::PageBuilder;
use super::cache::{CacheConfig, HeldPage, PageCache, TierCounts};
use super::entry::{Entry, Event, Subject};
use super::page::{PAGE_HEIGHTS, PageKey, heights_of, page_of, parts_of};
use crate::reading::{Origin, ReadOptions};
use crate::recording::last_retired;
use crate::walker::{GivenUp, Recording, Walker, nothing_executable, root_chains, snapshots_of};
use storage::read_genesis;

mod rolls;

/// Pages whose recorded root chains are read together: a question goes from the newest to older ones.
const ROOT_CHAIN_PAGES: u64 = 8;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// Whose history.
    pub subject: Subject,
    /// The first height.
    pub from: Height,
    /// The last height; without it, the last settled one.
    pub to: Option<Height>,
    /// Entries, about: a height is never cut in two.
    pub limit: usize,
    /// Whether an account's history ends where the account was opened, whoever had its row before.
    pub opened: bool,
}

/// What happened, oldest first.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Answer {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The last height of what is older and was not asked for any more.
    pub older: Option<Height>,
    /// Whether what is older was given up by the journal, and is in no tier.
    pub given_up: bool,
}

/// The history of one session.
pub struct History {
    dir: PathBuf,
    reading: ReadOptions,
    setup: Setup,
    cache: PageCache,
    /// Which pages need not be looked at; without it, all are. Only a session of the reader's own has it.
    ranges: Option<Ranges>,
    /// The recorded root chain after the last height of each page that was asked for.
    root_chains: RefCell<BTreeMap<u64, Hash>>,
    /// The snapshots of a session that nobody writes, once they were looked at.
    catalog: RefCell<Option<Catalog>>,
    /// Whether another process writes the session.
    live: bool,
    on_height: Box<dyn Fn(Height)>,
}

/// Entries of some pages, found oldest page first, of which only the newest are wanted.
struct Newest {
    wanted: usize,
    pages: VecDeque<(u64, Vec<Entry>)>,
    count: usize,
}

/// Where the pages of one reading came from.
enum ReadDown {
    /// A page that a tier had.
    Cached,
    /// A walk, up to this height.
    Walked(Height),
    /// The journal has given up what would lead there.
    GivenUp,
}

impl Newest {
    fn new(wanted: usize) -> Self {
        Self { wanted, pages: VecDeque::new(), count: 0 }
    }

    fn push(&mut self, page: u64, entries: Vec<Entry>) {
        self.count += entries.len();
        self.pages.push_back((page, entries));
        // Older pages go while the newer ones have what is wanted: a long walk must not hold a whole history in memory.
        while self.pages.front().is_some_and(|(_, oldest)| self.count - oldest.len() >= self.wanted)
            && self.pages.len() > 1
        {
            self.count -= self.pages.pop_front().map_or(0, |(_, oldest)| oldest.len());
        }
    }
}

impl History {
    /// The history of the session at `dir`.
    ///
    /// # Errors
    /// If there is no session, or the cache's folder cannot be used.
    pub fn open(dir: &Path, reading: ReadOptions, config: CacheConfig) -> anyhow::Result<Self> {
        let (genesis, chain) = read_genesis(dir)?;
        let setup = Setup::new(genesis, chain)?;
        let cache = PageCache::open(chain, reading.origin, config)?;
        // What an index leaves out is never looked at: a stranger could hide a page with it.
        let ranges = if reading.origin == Origin::Own { Ranges::open(dir, &chain) } else { None };
        let (root_chains, catalog) = (RefCell::default(), RefCell::default());
        let (dir, live) = (dir.to_owned(), storage::is_written(dir));
        Ok(Self { dir, reading, setup, cache, ranges, root_chains, catalog, live, on_height: Box::new(|_| ()) })
    }

    /// This history, with somebody who hears of the heights that are executed.
    pub fn watched(self, on_height: impl Fn(Height) + 'static) -> Self {
        Self { on_height: Box::new(on_height), ..self }
    }

    /// The chain's constants.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The tiers.
    pub fn cache(&self) -> &PageCache {
        &self.cache
    }

    /// All parts of a page, if the tiers have them all as the session records them.
    pub fn cached(&self, page: u64) -> Option<Vec<HeldPage>> {
        let root_chain = self.root_chain(page)?;
        let parts = parts_of(self.setup.genesis.tables);
        (0..parts).map(|part| self.cache.get(PageKey { page, part }, &root_chain).map(|(held, _)| held)).collect()
    }

    /// The root chain that the session records after a page's last height; none where it does not reach that, or cannot be
    /// read there: the walk says why.
    fn root_chain(&self, page: u64) -> Option<Hash> {
        let mut known = self.root_chains.borrow_mut();
        if !known.contains_key(&page) {
            let first = page.saturating_sub(ROOT_CHAIN_PAGES - 1);
            let heights = heights_of(first).end - 1..heights_of(page).end;
            let found = root_chains(&self.dir, heights).ok()?;
            let of_page = |page: u64| Some((page, *found.get(&(heights_of(page).end - 1))?));
            known.extend((first..=page).filter_map(of_page));
        }
        known.get(&page).copied()
    }

    /// The highest page, not above `page`, on which something of the subject may be.
    fn active(&self, subject: &Subject, page: u64) -> Option<u64> {
        let Some(ranges) = &self.ranges else { return Some(page) };
        let (kind, id) = match subject {
            Subject::Table(table) => (ActiveKind::Table, table.0),
            Subject::Account(account) => (ActiveKind::Account, account.0),
        };
        ranges.active_at_or_below(kind as u8, id, page)
    }

    /// A walk that stands at or before `height`.
    fn walker(&self, height: Height) -> anyhow::Result<Walker> {
        let mut walker = match self.live {
            true => Walker::near(&self.dir, self.reading, height)?,
            // Nobody writes this session, so its snapshots are read once.
            false => {
                let mut catalog = self.catalog.borrow_mut();
                if catalog.is_none() {
                    *catalog = Some(snapshots_of(&self.dir, self.reading.origin)?);
                }
                let catalog = catalog.as_ref().expect("read above");
                Walker::near_among(&self.dir, self.reading, height, catalog)?
            }
        };
        walker.machine().watch(true);
        Ok(walker)
    }

    /// A walk that stands at or before `height`; `newest` where the journal has given up what would lead there.
    fn walker_below(&self, height: Height, newest: Walker) -> anyhow::Result<Walker> {
        let lower = match self.walker(height) {
            Err(error) if error.is::<GivenUp>() => return Ok(newest),
            lower => lower?,
        };
        let given_up =
            || Recording::open(&self.dir).and_then(|mut record| record.read()).is_err_and(|e| e.is::<GivenUp>());
        let whole = lower.height() > Height::GENESIS || height == Height::GENESIS || !given_up();
        Ok(if whole { lower } else { newest })
    }

    /// Walks from the nearest state before `page` and shows every page on the way, up to it; or to the end of the
    /// session, where the last page may have fewer heights than 64. Pages that can no longer change are kept.
    fn walk(
        &self,
        page: Option<u64>,
        visit: impl FnMut(u64, &[HeldPage]) -> anyhow::Result<()>,
    ) -> anyhow::Result<Walker> {
        let walker = match page {
            Some(page) => self.walker(Height(page * PAGE_HEIGHTS))?,
            None => {
                let mut newest = self.walker(Height(u64::MAX))?;
                let mut begins = newest.height().0 / PAGE_HEIGHTS * PAGE_HEIGHTS;
                // Where the session ends with its newest snapshot and with a page, nothing follows: the newest page is the one
                // that ends there.
                if newest.height().0 == begins && newest.is_at_end()? {
                    begins = begins.saturating_sub(PAGE_HEIGHTS);
                }
                if newest.height().0 == begins { newest } else { self.walker_below(Height(begins), newest)? }
            }
        };
        self.walk_on(walker, page, visit)
    }

    /// Walks everything that can still be executed and shows every page: from genesis, or behind what the journal gave up.
    ///
    /// # Errors
    /// If the session is damaged, or differs from its replay, or nothing of it can be executed.
    pub fn walk_all(&self, visit: impl FnMut(u64, &[HeldPage]) -> anyhow::Result<()>) -> anyhow::Result<Height> {
        let mut walker = Walker::earliest(&self.dir, self.reading)?;
        walker.machine().watch(true);
        Ok(self.walk_on(walker, None, visit)?.height())
    }

    fn walk_on(
        &self,
        mut walker: Walker,
        page: Option<u64>,
        mut visit: impl FnMut(u64, &[HeldPage]) -> anyhow::Result<()>,
    ) -> anyhow::Result<Walker> {
        let last = page.map_or(u64::MAX, |page| heights_of(page).end - 1);
        let enough = last.saturating_add(if self.live { HISTORY_BEHIND_HEIGHTS } else { 0 });
        walker.until(Height(enough));
        let mut builder: Option<PageBuilder> = None;
        let mut whole: VecDeque<Vec<super::Page>> = VecDeque::new();
        while walker.height().0 < enough {
            let begins = walker.height().0.is_multiple_of(PAGE_HEIGHTS);
            let Some(step) = walker.step()? else { break };
            let height = step.settled.height;
            self.cache.counts().heights.fetch_add(1, Ordering::Relaxed);
            if begins {
                builder = Some(PageBuilder::new(&self.setup, page_of(height)));
            }
            let Some(building) = &mut builder else { continue };
            building.take(&step, walker.machine());
            if building.heights() == PAGE_HEIGHTS {
                whole.extend(builder.take().map(PageBuilder::finish));
                (self.on_height)(height);
            }
            while whole
                .front()
                .is_some_and(|parts| !self.live || parts[0].heights().end + HISTORY_BEHIND_HEIGHTS <= height.0 + 1)
            {
                let parts = whole.pop_front().expect("looked at above");
                let number = parts[0].header().page;
                let held: Vec<HeldPage> = parts.into_iter().map(|part| self.cache.keep(part)).collect();
                self.show(number, &held, last, &mut visit)?;
            }
        }
        // What may still change is shown, and not kept.
        for parts in whole.into_iter().chain(builder.filter(|built| built.heights() > 0).map(PageBuilder::finish)) {
            let number = parts[0].header().page;
            let held: Vec<HeldPage> = parts.into_iter().map(|part| HeldPage::Made(part.into())).collect();
            self.show(number, &held, last, &mut visit)?;
        }
        Ok(walker)
    }

    /// Refuses a session without a snapshot behind what its journal gave up: an empty answer would be no answer.
    fn check_executable(&self) -> anyhow::Result<()> {
        let retired = last_retired(&self.dir)?;
        let mut newest = self.walker(Height(u64::MAX))?;
        if newest.height() < retired {
            return Err(nothing_executable(retired).into());
        }
        match newest.step() {
            Err(error) if error.is::<GivenUp>() => Err(nothing_executable(retired).into()),
            stepped => stepped.map(|_| ()),
        }
    }

    fn show(
        &self,
        page: u64,
        held: &[HeldPage],
        last: u64,
        visit: &mut impl FnMut(u64, &[HeldPage]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if heights_of(page).start > last {
            return Ok(());
        }
        held.iter().for_each(|_| TierCounts::count(&self.cache.counts().cold));
        visit(page, held)
    }

    /// Answers a question.
    ///
    /// # Errors
    /// If the session is damaged, or differs from its replay.
    pub fn answer(&self, question: &Question) -> anyhow::Result<Answer> {
        let Question { subject, from, to, limit, opened } = *question;
        let mut found: VecDeque<Entry> = VecDeque::new();
        let keep = |entry: &Entry| entry.height >= from && to.is_none_or(|to| entry.height <= to);
        let begins = |entry: &Entry| {
            let Event::Intent(row) = &entry.event else { return false };
            let opens = matches!(row.kind(), IntentKind::Open | IntentKind::OpenVoucher) && row.is_applied();
            opened && opens && subject == Subject::Account(AccountId(row.account))
        };
        // Pages from this one down are still to be read; none are after the first.
        let mut next = to.map(|to| page_of(to.max(Height(1))));
        let mut started = next.is_some();
        let first = page_of(from.max(Height(1)));
        let (mut complete, mut given_up) = (false, false);
        while !complete && found.len() < limit {
            let mut run = Newest::new(limit - found.len());
            next = next.and_then(|page| self.active(&subject, page));
            // What is older has nothing of the subject, or is not asked for.
            if next.map_or(started, |page| page < first) {
                complete = true;
                break;
            }
            let reached = match self.read_down(next, &subject, &mut run)? {
                ReadDown::Cached => None,
                ReadDown::Walked(end) => Some(end),
                ReadDown::GivenUp => {
                    (complete, given_up) = (true, true);
                    break;
                }
            };
            // Heights are there, and none could be walked: the newest snapshot is of the last one, and what leads there
            // was given up.
            given_up = !started && run.pages.is_empty() && reached.is_some_and(|end| end > Height::GENESIS);
            started = true;
            next = match (run.pages.front(), next) {
                (Some((lowest, _)), _) => lowest.checked_sub(1),
                // The session ends before this page: its last heights are on an earlier one.
                (None, Some(page)) => {
                    let end = reached.filter(|end| *end > Height::GENESIS).map(page_of);
                    page.checked_sub(1).and_then(|below| Some(below.min(end?)))
                }
                (None, None) => None,
            };
            complete = next.is_none();
            for entry in run.pages.into_iter().rev().flat_map(|(_, entries)| entries.into_iter().rev()) {
                if keep(&entry) {
                    let ends = begins(&entry);
                    found.push_front(entry);
                    if ends {
                        complete = true;
                        break;
                    }
                }
            }
        }
        Ok(Answer { given_up, ..cut(found, limit, complete, from) })
    }

    /// Takes a page from the tiers; or walks to it, or to the end of the session, and takes every page on the way.
    fn read_down(&self, page: Option<u64>, subject: &Subject, run: &mut Newest) -> anyhow::Result<ReadDown> {
        if let Some(page) = page
            && let Some(parts) = self.cached(page)
        {
            run.push(page, subject.entries(&parts));
            return Ok(ReadDown::Cached);
        }
        match self.collect(page, subject, run) {
            // This happens also where the newest snapshot lies within a page whose beginning was given up.
            Err(error) if error.is::<GivenUp>() => {
                self.check_executable()?;
                Ok(ReadDown::GivenUp)
            }
            collected => collected.map(ReadDown::Walked),
        }
    }

    /// Walks and collects what the pages say; returns the height that was reached.
    fn collect(&self, page: Option<u64>, subject: &Subject, run: &mut Newest) -> anyhow::Result<Height> {
        let walker = self.walk(page, |page, parts| {
            run.push(page, subject.entries(parts));
            Ok(())
        })?;
        Ok(walker.height())
    }

    /// Looks at the state at the end of the session.
    ///
    /// # Errors
    /// If the session is damaged, or differs from its replay.
    pub fn at_end<R>(&self, read: impl FnOnce(&mut Machine) -> R) -> anyhow::Result<R> {
        let mut walker = self.walk(None, |_, _| Ok(()))?;
        Ok(read(walker.machine()))
    }
}

/// The newest entries, whole heights; and where what is older ends.
fn cut(mut found: VecDeque<Entry>, limit: usize, complete: bool, from: Height) -> Answer {
    let mut cut = false;
    while found.len() > limit {
        let Some(oldest) = found.front().map(|entry| entry.height) else { break };
        let of_height = found.iter().take_while(|entry| entry.height == oldest).count();
        if found.len() - of_height < limit {
            break;
        }
        found.drain(..of_height);
        cut = true;
    }
    let older = found.front().map(|entry| entry.height.back(1)).filter(|height| *height >= from);
    let older = older.filter(|height| (cut || !complete) && *height > Height::GENESIS);
    Answer { entries: found.into(), older, given_up: false }
}

#[cfg(test)]
mod tests;
