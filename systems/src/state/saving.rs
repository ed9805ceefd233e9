//! What a snapshot that is under way looks at before a height is settled.

use bevy_ecs::system::{Res, ResMut, SystemState};
use engine::columns::{Columns, Rows};
use engine::image::{DirtyMap, GroupSaver};

use super::accounts::AccountIndex;
use super::due::DueTimes;
use super::setup::Setup;
use crate::settle::mark::WrittenGroups;

/// What saving groups before a height looks at.
pub(crate) type Saving = SystemState<(
    Columns<'static, 'static>,
    Res<'static, Setup>,
    Res<'static, AccountIndex>,
    Res<'static, DueTimes>,
    ResMut<'static, WrittenGroups>,
    ResMut<'static, GroupSaver>,
    ResMut<'static, DirtyMap>,
)>;

/// What a snapshot reads and writes of the world, by name.
pub(crate) struct SavingParts<'a> {
    pub(crate) rows: &'a Rows<'a>,
    pub(crate) setup: &'a Setup,
    pub(crate) index: &'a AccountIndex,
    pub(crate) due: &'a DueTimes,
    pub(crate) marks: &'a mut WrittenGroups,
    pub(crate) saver: &'a mut GroupSaver,
    pub(crate) dirty: &'a mut DirtyMap,
}
