//! The tiers that keep pages: memory, and a folder of the reader's own that may be deleted at any time.
//!
//! The folder is the user's, never the session's: whoever hands a session over could have written its pages too. There is one
//! for each chain, and a page is taken from it only where the session records the root chain that the page was made under.
//! One process has the folder at a time. A second one, that finds it taken, keeps pages in memory only and says so.

use std::fs::File;
use std::io::{Read, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use engine::limits::{CACHE_WAITING_BYTES_MAX, HISTORY_DISK_BYTES, HISTORY_MEMORY_BYTES, PAGE_BYTES_MAX};
use engine::{Hash, hex};
use foyer::{
    BlockEngineConfig, Code, DeviceBuilder, ErrorKind, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCacheEntry, HybridCachePolicy, LruConfig, PsyncIoEngineConfig,
};
use serde::Serialize;

use storage::backend::open_regular;

use super::page::{Page, PageKey};
use crate::reading::Origin;

/// Bytes of one file of the disk tier, at most, and so of the largest stored page that it takes.
const FILE_BYTES: u64 = 16 << 20;
/// Files of the disk tier, at least: it evicts a file at a time.
const FILES_MIN: u64 = 8;

// A disk tier of the usual size has enough files to evict one at a time.
const _: () = assert!(FILE_BYTES * FILES_MIN <= HISTORY_DISK_BYTES);

/// What the tiers may hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheConfig {
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// Bytes on disk, for each chain; 0 for no disk tier.
    pub disk_bytes: u64,
    /// The folder of all chains; without it there is no disk tier.
    pub folder: Option<PathBuf>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { memory_bytes: HISTORY_MEMORY_BYTES, disk_bytes: HISTORY_DISK_BYTES, folder: user_folder() }
    }
}

/// `bitcraps/history` in the user's cache folder: `XDG_CACHE_HOME`, else `.cache` in the home directory.
pub fn user_folder() -> Option<PathBuf> {
    // A relative path would be another folder wherever the program is started.
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("bitcraps").join("history"))
}

/// How often each tier had what was asked for. Counted since the process began; whoever exports metrics reads it.
#[derive(Default, Debug)]
pub struct TierCounts {
    /// Pages that lay in memory.
    pub memory: AtomicU64,
    /// Pages that lay on disk.
    pub disk: AtomicU64,
    /// Pages that were made from the journal again.
    pub cold: AtomicU64,
    /// Heights that were executed for that.
    pub heights: AtomicU64,
    /// Stored pages that were damaged, and made again.
    pub damaged: AtomicU64,
}

/// [`TierCounts`] at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct TierReport {
    /// Pages that lay in memory.
    pub memory: u64,
    /// Pages that lay on disk.
    pub disk: u64,
    /// Pages that were made from the journal again.
    pub cold: u64,
    /// Heights that were executed for that.
    pub heights: u64,
    /// Stored pages that were damaged, and made again.
    pub damaged: u64,
}

impl TierCounts {
    /// Counts one.
    pub fn count(counter: &AtomicU64) {
        // Counters are read alone; nothing is ordered by them.
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn report(&self) -> TierReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TierReport {
            memory: read(&self.memory),
            disk: read(&self.disk),
            cold: read(&self.cold),
            heights: read(&self.heights),
            damaged: read(&self.damaged),
        }
    }
}

impl TierReport {
    /// Pages that were asked for.
    pub fn asked(&self) -> u64 {
        self.memory + self.disk + self.cold
    }

    /// Of 1,000 pages asked for, those that memory had, and those that memory or disk had.
    pub fn hits_per_mille(&self) -> (u64, u64) {
        let asked = self.asked().max(1);
        (self.memory * 1_000 / asked, (self.memory + self.disk) * 1_000 / asked)
    }
}

/// Where a page came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tier {
    /// Memory.
    Memory,
    /// Disk.
    Disk,
}

/// A page that somebody reads: the cache's own, or one that was just made.
#[derive(Clone, Debug)]
pub enum HeldPage {
    /// The cache has it.
    Cached(HybridCacheEntry<PageKey, Page>),
    /// It was just made.
    Made(Arc<Page>),
}

impl Deref for HeldPage {
    type Target = Page;

    fn deref(&self) -> &Page {
        match self {
            Self::Cached(entry) => entry.value(),
            Self::Made(page) => page,
        }
    }
}

impl Code for PageKey {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        self.page.encode(writer)?;
        self.part.encode(writer)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        Ok(Self { page: u64::decode(reader)?, part: u32::decode(reader)? })
    }

    fn estimated_size(&self) -> usize {
        12
    }
}

impl Code for Page {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        writer.write_all(&Self::encode(self)).map_err(foyer::Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(foyer::Error::io_error)?;
        Self::decode(&bytes).map_err(|error| foyer::Error::new(ErrorKind::Parse, error.to_string()))
    }

    fn estimated_size(&self) -> usize {
        self.len()
    }
}

/// The two tiers of one session.
pub struct PageCache {
    hybrid: HybridCache<PageKey, Page>,
    // Fields are dropped in their order: the runtime goes after the tiers, whose tasks it runs.
    runtime: tokio::runtime::Runtime,
    chain: Hash,
    counts: Arc<TierCounts>,
    waiting: AtomicU64,
    /// Held while this process has the folder.
    lock: Option<File>,
}

/// Takes the folder, unless another process has it or nothing may be written there.
fn take(folder: &Path) -> Option<File> {
    std::fs::create_dir_all(folder).ok()?;
    let file = open_regular(&folder.join("LOCK"), File::options().create(true).truncate(false).write(true)).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

impl PageCache {
    /// The tiers of a chain. Pages of a session of the reader's own, whose signatures nobody verified again, are kept apart
    /// from those of strangers' sessions.
    ///
    /// # Errors
    /// If the system refuses a thread, or a file of the folder.
    pub fn open(chain: Hash, origin: Origin, config: CacheConfig) -> anyhow::Result<Self> {
        let kind = if origin == Origin::Own { "own" } else { "verified" };
        let folder = config.folder.unwrap_or_default().join(hex(&chain)).join(kind);
        let has_folder = folder.is_absolute() && config.disk_bytes > 0;
        let lock = if has_folder { take(&folder) } else { None };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("history")
            .enable_all()
            .build()
            .context("a thread for the history cache")?;
        let memory = usize::try_from(config.memory_bytes).context("the cache's memory")?;
        let builder = HybridCacheBuilder::new()
            .with_name("history")
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            // Pages are written as they come in, so that a reader need not wait for the disk when it ends.
            .with_flush_on_close(false)
            .memory(memory)
            .with_shards(1)
            .with_eviction_config(LruConfig { high_priority_pool_ratio: 0.0 })
            .with_weighter(|_: &PageKey, page: &Page| page.len())
            .storage();
        let hybrid = if lock.is_some() {
            let disk = usize::try_from(config.disk_bytes).context("the cache's disk")?;
            let device = FsDeviceBuilder::new(&folder).with_capacity(disk).build().context("the cache's folder")?;
            let file_bytes = (config.disk_bytes / FILES_MIN).min(FILE_BYTES) as usize;
            let engine = BlockEngineConfig::new(device).with_block_size(file_bytes);
            let storage = builder.with_io_engine_config(PsyncIoEngineConfig::new()).with_engine_config(engine);
            runtime.block_on(storage.build())
        } else {
            runtime.block_on(builder.build())
        };
        let hybrid = hybrid.with_context(|| format!("{}; the folder may be deleted", folder.display()))?;
        Ok(Self { hybrid, runtime, chain, counts: Arc::default(), waiting: AtomicU64::new(0), lock })
    }

    /// Whether this process has the disk tier.
    pub fn has_disk(&self) -> bool {
        self.lock.is_some()
    }

    /// How often each tier had what was asked for.
    pub fn counts(&self) -> &Arc<TierCounts> {
        &self.counts
    }

    /// A page, if a tier has it as it was made under `root_chain`, which commits to every block and every state up to its last
    /// height.
    pub fn get(&self, key: PageKey, root_chain: &Hash) -> Option<(HeldPage, Tier)> {
        let fits = |page: &Page| {
            page.header().chain == self.chain && page.header().root_chain == *root_chain && page.key() == key
        };
        if let Some(entry) = self.hybrid.memory().get(&key).filter(|entry| fits(entry.value())) {
            TierCounts::count(&self.counts.memory);
            return Some((HeldPage::Cached(entry), Tier::Memory));
        }
        // Without the folder there is no disk to ask, and the runtime is not woken for nothing.
        self.lock.as_ref()?;
        let found = self.runtime.block_on(self.hybrid.get(&key));
        let entry = match found {
            Ok(entry) => entry?,
            Err(error) => {
                tracing::warn!(page = key.page, part = key.part, %error, "a page of history is made again");
                TierCounts::count(&self.counts.damaged);
                self.hybrid.remove(&key);
                return None;
            }
        };
        // Another chain's folder was put here, or the page is of a session that went another way.
        if !fits(entry.value()) || !entry.is_whole() {
            TierCounts::count(&self.counts.damaged);
            self.hybrid.remove(&key);
            return None;
        }
        TierCounts::count(&self.counts.disk);
        Some((HeldPage::Cached(entry), Tier::Disk))
    }

    /// Keeps a page, and waits where the disk is far behind.
    ///
    /// # Panics
    /// If the page has not all its heights.
    pub fn keep(&self, page: Page) -> HeldPage {
        assert!(page.is_whole(), "only pages that cannot change are kept");
        // Such a page could not be read back: it is made again each time.
        if page.len() > PAGE_BYTES_MAX {
            return HeldPage::Made(Arc::new(page));
        }
        let bytes = page.len() as u64;
        let entry = self.hybrid.insert(page.key(), page);
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > CACHE_WAITING_BYTES_MAX as u64 {
            self.settle();
        }
        HeldPage::Cached(entry)
    }

    /// Waits until everything that was kept is on disk.
    pub fn settle(&self) {
        self.waiting.store(0, Ordering::Relaxed);
        self.runtime.block_on(self.hybrid.storage().wait());
    }

    /// Puts every page out of memory, for those who measure the disk tier.
    pub fn forget_memory(&self) {
        self.settle();
        self.hybrid.memory().clear();
    }

    /// Bytes that memory holds.
    pub fn memory_bytes(&self) -> usize {
        self.hybrid.memory().usage()
    }
}

impl Drop for PageCache {
    fn drop(&mut self) {
        if let Err(error) = self.runtime.block_on(self.hybrid.close()) {
            tracing::warn!(%error, "the history cache did not close; its pages are made again");
        }
    }
}

#[cfg(test)]
mod tests;
