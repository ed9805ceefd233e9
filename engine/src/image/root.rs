use bevy_ecs::resource::Resource;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use rayon::prelude::*;

use super::{DirtyMap, ImageLayout, group};
use crate::columns::{COLUMNS, Rows};
use crate::limits::GROUP_BYTES;
use crate::message::Hash;

/// Groups that one worker hashes at a time, and nodes that one worker merges at a time.
const GROUPS_PER_TASK: usize = 8;
const MERGES_PER_TASK: usize = 128;

/// The BLAKE3 tree over the image's groups, kept between heights, so that only touched groups are hashed again.
///
/// Level 0 has a chaining value for each group; each level above merges neighbours, and an odd last one moves up as it
/// is. That is BLAKE3's own tree (BLAKE3 paper, section 2.1: the left subtree is the largest power of two of chunks that
/// leaves at least one for the right), so the top is the hash of the whole image.
#[derive(Resource)]
pub struct RootTree {
    layout: ImageLayout,
    levels: Vec<Vec<ChainingValue>>,
    touched: Vec<u32>,
    fresh: Vec<ChainingValue>,
    touched_groups: usize,
}

/// The chaining value of a group's bytes at its place in the image.
///
/// # Panics
/// If it is not as long as a group is.
pub fn group_value(index: usize, bytes: &[u8]) -> Hash {
    assert_eq!(bytes.len(), GROUP_BYTES, "a group is padded to its size");
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(index as u64 * GROUP_BYTES as u64).update(bytes);
    hasher.finalize_non_root()
}

/// The root of an image whose groups have these chaining values.
///
/// # Panics
/// If there are fewer than two: an image has a group for each of its columns.
pub fn root_of(values: &[Hash]) -> Hash {
    assert!(values.len() > 1, "an image has a group for each of its columns");
    let mut level = values.to_vec();
    while level.len() > 2 {
        let merge = |pair: &[ChainingValue]| match pair {
            [left, right] => merge_subtrees_non_root(left, right, Mode::Hash),
            [odd] => *odd,
            _ => unreachable!("chunks of two"),
        };
        level = level.chunks(2).map(merge).collect();
    }
    assert_eq!(level.len(), 2, "the root merges two");
    *merge_subtrees_root(&level[0], &level[1], Mode::Hash).as_bytes()
}

impl RootTree {
    /// A tree for images of this layout; its values are those of the first [`RootTree::update`], with every group dirty.
    pub fn new(layout: ImageLayout) -> Self {
        let groups = layout.groups();
        assert!(groups > 1, "an image has a group for each of its columns");
        let mut levels = vec![vec![[0; 32]; groups]];
        while levels.last().is_some_and(|level| level.len() > 2) {
            let below = levels.last().map_or(0, Vec::len);
            levels.push(vec![[0; 32]; below.div_ceil(2)]);
        }
        // The top is merged as the root, which BLAKE3 tells apart from a node below it.
        assert_eq!(levels.last().map(Vec::len), Some(2), "the root merges two");
        Self { layout, levels, touched: Vec::with_capacity(groups), fresh: vec![[0; 32]; groups], touched_groups: 0 }
    }

    /// How many groups the last update hashed.
    pub fn touched_groups(&self) -> usize {
        self.touched_groups
    }

    /// Hashes the touched groups again and returns the root. The map is clean afterwards.
    pub fn update(&mut self, rows: &Rows<'_>, dirty: &mut DirtyMap) -> Hash {
        dirty.take(&mut self.touched);
        self.touched_groups = self.touched.len();
        assert!(
            self.touched.is_sorted_by(|group, next| group < next),
            "neighbours share a parent: groups are in order"
        );
        assert!(self.touched.last().is_none_or(|group| (*group as usize) < self.layout.groups()));
        self.hash_groups(&rows.column_bytes());
        for level in 1..self.levels.len() {
            self.merge_level(level);
        }
        // Each level halves what was touched: whatever is left is one of the two that the root merges.
        assert!(self.touched.len() <= 2, "a parent is merged once");
        let top = self.levels.last().expect("there is at least one level");
        *merge_subtrees_root(&top[0], &top[1], Mode::Hash).as_bytes()
    }

    fn hash_groups(&mut self, columns: &[&[u8]; COLUMNS]) {
        let (layout, touched) = (&self.layout, &self.touched);
        let fresh = &mut self.fresh[..touched.len()];
        let hash = |(values, groups): (&mut [ChainingValue], &[u32])| {
            for (value, index) in values.iter_mut().zip(groups) {
                let mut padded = [0; GROUP_BYTES];
                let bytes = group(layout, columns, *index as usize, &mut padded);
                *value = group_value(*index as usize, bytes);
            }
        };
        // One task is not worth another thread's waking up.
        if touched.len() <= GROUPS_PER_TASK {
            hash((fresh, touched));
        } else {
            fresh.par_chunks_mut(GROUPS_PER_TASK).zip(touched.par_chunks(GROUPS_PER_TASK)).for_each(hash);
        }
        for (index, value) in touched.iter().zip(fresh) {
            self.levels[0][*index as usize] = *value;
        }
    }

    fn merge_level(&mut self, level: usize) {
        // The parents of the touched nodes, each once: children are in order, so equal parents are neighbours.
        self.touched.iter_mut().for_each(|node| *node /= 2);
        self.touched.dedup();
        let (below, above) = self.levels.split_at_mut(level);
        let (below, above) = (&below[level - 1], &mut above[0]);
        assert_eq!(above.len(), below.len().div_ceil(2), "each parent has its children below it");
        let fresh = &mut self.fresh[..self.touched.len()];
        let merge = |(values, parents): (&mut [ChainingValue], &[u32])| {
            for (value, parent) in values.iter_mut().zip(parents) {
                let left = *parent as usize * 2;
                *value = match below.get(left + 1) {
                    Some(right) => merge_subtrees_non_root(&below[left], right, Mode::Hash),
                    // An odd last one moves up as it is, in BLAKE3's tree too.
                    None => below[left],
                };
            }
        };
        if self.touched.len() <= MERGES_PER_TASK {
            merge((fresh, &self.touched));
        } else {
            let parents = self.touched.par_chunks(MERGES_PER_TASK);
            fresh.par_chunks_mut(MERGES_PER_TASK).zip(parents).for_each(merge);
        }
        for (parent, value) in self.touched.iter().zip(fresh) {
            above[*parent as usize] = *value;
        }
    }
}
