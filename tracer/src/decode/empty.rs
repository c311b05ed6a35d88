//! Empty paths: to most calls they name nothing, to some with a flag a descriptor itself.

use super::Call;

const AT_EMPTY_PATH: u32 = 0x1000;
const FSPICK_EMPTY_PATH: u32 = 8;
/// `MOVE_MOUNT_F_EMPTY_PATH`, `MOVE_MOUNT_T_EMPTY_PATH`.
const MOVE_MOUNT_EMPTY_PATH: u32 = 0x44;

/// Whether a call means the descriptor itself where its path is empty.
pub(super) fn means_descriptor(call: &Call<'_>) -> bool {
    let (argument, flags) = match call.name {
        "execveat" | "fchownat" | "linkat" => (4, AT_EMPTY_PATH),
        "fchmodat2" | "utimensat" | "utimensat_time64" => (3, AT_EMPTY_PATH),
        "setxattrat" | "removexattrat" => (2, AT_EMPTY_PATH),
        "open_tree" | "open_tree_attr" | "mount_setattr" => (2, AT_EMPTY_PATH),
        "fspick" => (2, FSPICK_EMPTY_PATH),
        "move_mount" => (4, MOVE_MOUNT_EMPTY_PATH),
        _ => return false,
    };
    call.word(argument) & flags != 0
}
