//! Root: the hash of the whole image, of which only touched groups are hashed again.

use bevy_ecs::system::{Res, ResMut};
use engine::columns::Columns;
use engine::image::{DirtyMap, GroupSaver, RootTree};

use super::block::{Current, Report};

/// System: hashes the touched groups again.
pub fn update_root(
    mut columns: Columns<'_, '_>,
    mut tree: ResMut<'_, RootTree>,
    mut dirty: ResMut<'_, DirtyMap>,
    mut report: ResMut<'_, Report>,
    current: Res<'_, Current>,
    mut saver: ResMut<'_, GroupSaver>,
) {
    let rows = columns.rows();
    // Before the tree takes the marks away: a snapshot that missed a group is found by them.
    saver.check_written(&dirty);
    assert_eq!(rows.house.height, current.height, "the root is that of the settled height");
    report.root = tree.update(&rows, &mut dirty);
}
