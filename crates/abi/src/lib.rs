//! The C boundary between fewbit and its backend plugins.
//!
//! Owns the layout of what crosses it: `include/fewbit/plugin.h`, `ext.h` and `plugin.hpp`, and this mirror of the
//! first two. The header is the document; it says what every field and function means, who owns what, and which calls
//! may run at once. Nothing here runs: hosts use `fewbit-plugin-host`, vendors the header or `fewbit-plugin-sdk`.
//!
//! A test compiles the header with the system's compiler and compares every size and offset with this mirror and with a
//! committed snapshot: within major version 1 a struct may only grow at its end.

mod constants;
mod ext;
mod plugin;

pub use constants::*;
pub use ext::*;
pub use plugin::*;

/// The text of `fewbit/plugin.h`.
pub const PLUGIN_H: &str = include_str!("../include/fewbit/plugin.h");
/// The text of `fewbit/ext.h`.
pub const EXT_H: &str = include_str!("../include/fewbit/ext.h");
/// The text of `fewbit/plugin.hpp`.
pub const PLUGIN_HPP: &str = include_str!("../include/fewbit/plugin.hpp");

/// Whether the producer of `*p` knew `$field` and filled it in: the mirror of the header's `FEWBIT_KNOWS`.
///
/// `$size` is the `struct_size` that the producer wrote.
#[macro_export]
macro_rules! knows {
    ($struct:ty, $size:expr, $field:ident) => {{
        const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
            ::core::mem::size_of::<F>()
        }
        $size as usize
            >= ::core::mem::offset_of!($struct, $field) + size_of_field(|value: &$struct| &value.$field)
    }};
}
