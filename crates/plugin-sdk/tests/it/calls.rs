//! Calls in the right order, in the wrong one, and with what no host should pass.

#![expect(unsafe_code, reason = "the other side of the boundary")]

use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::Ordering;

use fewbit_abi as abi;
use fewbit_plugin_sdk::__private::table;

use crate::host::{LOG, host, message, older_host, turn};
use crate::plugin::{ALIVE, Negate, Panicking};
use crate::programs::{Chain, chain, tensor};

static NEGATIVE: [i64; 1] = [-2];
static WRONG: [i64; 2] = [4, 3];
static STRIDES: [i64; 1] = [2];

/// A way to damage something, and the reason that is to be named.
type Damage<'d, T> = (&'d str, u32, &'d dyn Fn(&mut T));

/// The table, opened: `init` and `device_open` are done.
struct Open {
    table: &'static abi::Plugin,
    device: *mut abi::Device,
}

/// Calls an entry with a fresh error; gives status and error.
macro_rules! call {
    ($table:expr, $entry:ident $(, $argument:expr)*) => {{
        let mut error = abi::Error::clear();
        // SAFETY: what the header asks for, or what the test is about.
        let status = unsafe { $table.$entry.unwrap()($($argument,)* &raw mut error) };
        (status, error)
    }};
}

fn negate() -> &'static abi::Plugin {
    // SAFETY: the table lives as long as the program.
    unsafe { table::<Negate>(1, 0).as_ref() }.unwrap()
}

fn open() -> Open {
    let table = negate();
    let host = Box::leak(Box::new(host()));
    assert_eq!(call!(table, init, &raw const *host).0, abi::OK);
    let mut device = null_mut();
    assert_eq!(call!(table, device_open, 0, &raw mut device).0, abi::OK);
    Open { table, device }
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: the right order of ends.
        unsafe {
            self.table.device_close.unwrap()(self.device);
            self.table.deinit.unwrap()();
        }
    }
}

impl Open {
    fn compile(&self, program: &Chain) -> Result<*mut abi::Executable, Box<(i32, abi::Error)>> {
        let mut executable = null_mut();
        match call!(self.table, compile, self.device, &raw const program.raw, &raw mut executable) {
            (abi::OK, _) => Ok(executable),
            failed => Err(Box::new(failed)),
        }
    }

    fn context(&self, executable: *mut abi::Executable) -> *mut abi::Context {
        let mut context = null_mut();
        assert_eq!(call!(self.table, context_new, executable, &raw mut context).0, abi::OK);
        context
    }

    fn run(
        &self,
        context: *mut abi::Context,
        input: &abi::Tensor,
        output: &mut abi::Tensor,
    ) -> (i32, abi::Error) {
        let inputs = [&raw const *input];
        let outputs = [&raw mut *output];
        call!(self.table, run, context, inputs.as_ptr(), 1, outputs.as_ptr(), 1)
    }

    fn free(&self, executable: *mut abi::Executable, context: *mut abi::Context) {
        // SAFETY: the right order of ends.
        unsafe {
            self.table.context_free.unwrap()(context);
            self.table.executable_free.unwrap()(executable);
        }
    }
}

#[test]
fn the_table_is_whole_and_for_one_major() {
    let table = negate();
    assert_eq!((table.magic, table.struct_size as usize), (abi::MAGIC, size_of::<abi::Plugin>()));
    assert_eq!((table.abi_major, table.abi_minor, table.flags), (1, abi::ABI_MINOR as u16, 0));
    assert_eq!((table.id.len, table.vendor.len, table.version.len, table.build.len), (18, 7, 5, 4));
    assert!(table.blob_save.is_some() && table.blob_load.is_some() && table.blob_check.is_some());
    assert!(fewbit_plugin_sdk::__private::table::<Negate>(2, 0).is_null());
    assert!(fewbit_plugin_sdk::__private::table::<Negate>(0, 0).is_null());
    // SAFETY: the table lives as long as the program.
    let other = unsafe { &*fewbit_plugin_sdk::__private::table::<Panicking>(1, 9) };
    assert!(other.blob_save.is_none() && other.blob_load.is_none() && other.blob_check.is_none());
}

#[test]
fn a_program_runs_and_nothing_is_left_behind() {
    let _turn = turn();
    LOG.lock().unwrap().clear();
    let open = open();
    let program = chain(&[("Neg", "a"), ("Neg", "b"), ("Neg", "c")]);
    let mut verdicts = [abi::Verdict::default(); 3];
    let asked = call!(open.table, supports, open.device, &raw const program.raw, verdicts.as_mut_ptr());
    assert_eq!(asked.0, abi::OK);
    assert_eq!(verdicts, [abi::Verdict { supported: 1, why: 0 }; 3]);
    let executable = open.compile(&program).unwrap();
    drop(program);
    let context = open.context(executable);
    let (mut x, mut y) = ([1i8, -2, 3], [99i8; 3]);
    for _ in 0..2 {
        assert_eq!(open.run(context, &tensor(0, &mut x), &mut tensor(3, &mut y)).0, abi::OK);
        assert_eq!(y, [-1, 2, -3]);
    }
    let mut footprint = abi::Footprint::default();
    assert_eq!(call!(open.table, footprint, executable, &raw mut footprint).0, abi::OK);
    assert_eq!(footprint, abi::Footprint { weights: 1, activations: 2, scratch: 3 });
    // SAFETY: an id of the header; the family is a struct of that id.
    let family =
        unsafe { &*open.table.get_extension.unwrap()(abi::EXT_PROFILE.as_ptr()).cast::<abi::ExtProfile>() };
    let mut times = [0u64; 3];
    assert_eq!(call!(family, node_times, context, times.as_mut_ptr(), 3).0, abi::OK);
    assert_eq!(times, [7; 3]);
    assert_eq!(call!(family, node_times, context, times.as_mut_ptr(), 2).0, abi::INVALID_ARGUMENT);
    // SAFETY: a text that ends with NUL, and NULL.
    unsafe {
        assert!(open.table.get_extension.unwrap()(c"fewbit.unknown/1".as_ptr()).is_null());
        assert!(open.table.get_extension.unwrap()(null::<c_char>()).is_null());
    }
    open.free(executable, context);
    assert_eq!(ALIVE.load(Ordering::SeqCst), 2, "plugin and device");
    drop(open);
    assert_eq!(ALIVE.load(Ordering::SeqCst), 0);
    assert_eq!(
        *LOG.lock().unwrap(),
        [(abi::LOG_INFO, "negate: hello".to_owned())],
        "trace is above the level"
    );
}

#[test]
fn panics_become_statuses() {
    let _turn = turn();
    // SAFETY: the table lives as long as the program.
    let other = unsafe { &*fewbit_plugin_sdk::__private::table::<Panicking>(1, 0) };
    let host = host();
    let (status, error) = call!(other, init, &raw const host);
    assert_eq!(status, abi::INTERNAL);
    let text = message(&error);
    assert!(text.starts_with("the plugin panicked: no such driver \u{1f600}"), "{text}");
    assert!((490..496).contains(&text.len()), "cut at a character: {}", text.len());
    assert_eq!(call!(other, device_count, &mut 0).0, abi::INVALID_ARGUMENT, "there was no init");

    let open = open();
    let (status, error) = *open.compile(&chain(&[("Neg", "panic-in-compile")])).unwrap_err();
    assert_eq!((status, message(&error)), (abi::INTERNAL, "the plugin panicked: compile said no"));
    let executable = open.compile(&chain(&[("Neg", "panic-in-run")])).unwrap();
    let context = open.context(executable);
    let (mut x, mut y) = ([1i8, 2, 3], [0i8; 3]);
    let (status, error) = open.run(context, &tensor(0, &mut x), &mut tensor(1, &mut y));
    assert_eq!((status, message(&error)), (abi::INTERNAL, "the plugin panicked: run said no"));
    let (status, error) = open.run(context, &tensor(0, &mut x), &mut tensor(1, &mut y));
    assert_eq!((status, message(&error)), (abi::INTERNAL, "an earlier run of this context panicked"));
    open.free(executable, context);
    let executable = open.compile(&chain(&[("Neg", "panic-in-body")])).unwrap();
    let context = open.context(executable);
    let (status, error) = open.run(context, &tensor(0, &mut x), &mut tensor(1, &mut y));
    assert_eq!((status, message(&error)), (abi::INTERNAL, "the plugin panicked: body five"));
    open.free(executable, context);
}

#[test]
fn refusals_say_why_and_where() {
    let _turn = turn();
    let open = open();
    let mut program = chain(&[("Neg", "a"), ("Abs", "b")]);
    let mut verdicts = [abi::Verdict { supported: 9, why: 9 }; 2];
    assert_eq!(
        call!(open.table, supports, open.device, &raw const program.raw, verdicts.as_mut_ptr()).0,
        abi::OK
    );
    assert_eq!(verdicts[0], abi::Verdict { supported: 1, why: 0 });
    assert_eq!(verdicts[1], abi::Verdict { supported: 0, why: abi::WHY_OP });
    let (status, error) = *open.compile(&program).unwrap_err();
    assert_eq!((status, error.why, error.node), (abi::UNSUPPORTED, abi::WHY_OP, 1));
    assert_eq!(message(&error), "Abs `b`: only Neg");
    program.nodes[1].op_type = abi::Str::of("Neg");
    program.attr.name = abi::Str::of("unheard-of");
    let (status, error) = *open.compile(&program).unwrap_err();
    assert_eq!((status, error.why, error.node), (abi::UNSUPPORTED, abi::WHY_ATTRIBUTE, 0));
    program.attr.name = abi::Str::of("steps");
    program.values[1].dtype.bits = 16;
    let (status, error) = *open.compile(&program).unwrap_err();
    assert_eq!((status, error.why, error.node), (abi::UNSUPPORTED, abi::WHY_DTYPE, 0));
}

#[test]
fn broken_programs_are_refused() {
    let _turn = turn();
    let open = open();
    let name: [u8; 2] = [0xff, 0xfe];
    let broken: [Damage<'_, Chain>; 12] = [
        ("struct_size of the program", 0, &|c| c.raw.struct_size -= 1),
        ("version of the program", abi::WHY_OP, &|c| c.raw.ir_version = 2),
        ("no values", 0, &|c| c.raw.values = null()),
        ("no nodes", 0, &|c| c.raw.nodes = null()),
        ("fewer values than indices", 0, &|c| c.raw.n_values = 1),
        ("struct_size of a value", 0, &|c| c.values[0].struct_size = 8),
        ("an extent below -1", 0, &|c| c.values[0].dims = NEGATIVE.as_ptr()),
        ("a constant without data", 0, &|c| c.values[0].flags = abi::V_CONST),
        ("unknown flags", abi::WHY_DTYPE, &|c| c.values[0].flags |= 1 << 20),
        ("a name that is not UTF-8", 0, &|c| {
            c.values[0].name = abi::Str { ptr: (&raw const name).cast(), len: 2 };
        }),
        ("lanes", abi::WHY_DTYPE, &|c| c.values[0].dtype.lanes = 4),
        ("a value that is produced twice", 0, &|c| c.nodes[0].outputs = c.raw.inputs),
    ];
    for (what, why, damage) in broken {
        let mut program = chain(&[("Neg", "a")]);
        damage(&mut program);
        let (status, error) = *open.compile(&program).expect_err(what);
        assert!([abi::INVALID_ARGUMENT, abi::UNSUPPORTED].contains(&status), "{what}: {}", message(&error));
        assert_eq!(error.why, why, "{what}: {}", message(&error));
        assert!(!message(&error).is_empty(), "{what}");
        let mut verdict = abi::Verdict::default();
        let asked = call!(open.table, supports, open.device, &raw const program.raw, &raw mut verdict);
        assert_eq!(asked.0, status, "{what}");
    }
    // Attributes: of no item, of two, and of a kind that a newer header may have (which only that node minds).
    let mut program = chain(&[("Neg", "a")]);
    program.attr.n_items = 2;
    assert_eq!(open.compile(&program).unwrap_err().0, abi::INVALID_ARGUMENT);
    program.attr.n_items = 1;
    program.attr.items = null();
    assert_eq!(open.compile(&program).unwrap_err().0, abi::INVALID_ARGUMENT);
    program.attr.kind = 77;
    let executable = open.compile(&program).unwrap();
    // SAFETY: made a moment ago.
    unsafe { open.table.executable_free.unwrap()(executable) };
    // A newer host's structs are longer: fine.
    let mut program = chain(&[("Neg", "a")]);
    program.raw.struct_size += 64;
    program.values[0].struct_size += 8;
    let executable = open.compile(&program).unwrap();
    // SAFETY: made a moment ago.
    unsafe { open.table.executable_free.unwrap()(executable) };
}

#[test]
fn broken_tensors_are_refused_and_the_context_lives_on() {
    let _turn = turn();
    let open = open();
    let executable = open.compile(&chain(&[("Neg", "a")])).unwrap();
    let context = open.context(executable);
    let (mut x, mut y) = ([1i8, 2, 3], [0i8; 3]);
    let broken: [Damage<'_, abi::Tensor>; 9] = [
        ("short buffer", abi::WHY_SHAPE, &|t| t.byte_len = 2),
        ("null data", 0, &|t| t.data = null_mut()),
        ("wrong extents", abi::WHY_SHAPE, &|t| t.dims = WRONG.as_ptr()),
        ("wrong rank", abi::WHY_RANK, &|t| (t.rank, t.dims) = (2, WRONG.as_ptr())),
        ("null dims", 0, &|t| t.dims = null()),
        ("strides", abi::WHY_ALIGNMENT, &|t| t.byte_strides = STRIDES.as_ptr()),
        ("other memory", abi::WHY_MEMORY, &|t| t.memory = 3),
        ("other value", 0, &|t| t.value = 17),
        ("short struct", 0, &|t| t.struct_size = 40),
    ];
    for (what, why, damage) in broken {
        for damage_output in [false, true] {
            let (mut input, mut output) = (tensor(0, &mut x), tensor(1, &mut y));
            damage(if damage_output { &mut output } else { &mut input });
            let (status, error) = open.run(context, &input, &mut output);
            assert_ne!(status, abi::OK, "{what}");
            assert_eq!(error.why, why, "{what}: {}", message(&error));
        }
    }
    let mut both = [1i8, 2, 3, 4];
    let (input, mut output) = (tensor(0, &mut both), tensor(1, &mut y));
    // SAFETY: one element further, still three of them.
    output.data = unsafe { input.data.cast::<i8>().add(1).cast::<c_void>() };
    let mut input = input;
    (input.byte_len, output.byte_len) = (3, 3);
    let (status, error) = open.run(context, &input, &mut output);
    assert_eq!((status, message(&error)), (abi::INVALID_ARGUMENT, "output 0 overlaps another tensor"));
    let tensors = [&raw const input];
    let counted = call!(open.table, run, context, tensors.as_ptr(), 1, null(), 0);
    assert_eq!(message(&counted.1), "expected 1 outputs, found 0");
    assert_eq!(open.run(context, &tensor(0, &mut x), &mut tensor(1, &mut y)).0, abi::OK);
    assert_eq!(y, [-1, -2, -3]);
    open.free(executable, context);
}

#[test]
fn nulls_are_refused_everywhere() {
    let _turn = turn();
    let table = negate();
    assert_eq!(call!(table, init, null()).0, abi::INVALID_ARGUMENT);
    let open = open();
    let program = chain(&[("Neg", "a")]);
    let refused = [
        call!(table, device_count, null_mut()).0,
        call!(table, device_open, 0, null_mut()).0,
        call!(table, device_open, 1, &mut null_mut()).0,
        call!(table, capabilities, open.device, null()).0,
        call!(table, capabilities, null_mut(), null()).0,
        call!(table, supports, open.device, null(), null_mut()).0,
        call!(table, supports, open.device, &raw const program.raw, null_mut()).0,
        call!(table, supports, null_mut(), &raw const program.raw, null_mut()).0,
        call!(table, compile, open.device, null(), &mut null_mut()).0,
        call!(table, compile, open.device, &raw const program.raw, null_mut()).0,
        call!(table, compile, null_mut(), &raw const program.raw, &mut null_mut()).0,
        call!(table, blob_save, null_mut(), null()).0,
        call!(table, blob_load, open.device, abi::Bytes::EMPTY, &mut null_mut()).0,
        call!(table, blob_check, open.device, abi::Bytes::EMPTY, null_mut()).0,
        call!(table, context_new, null_mut(), &mut null_mut()).0,
        call!(table, run, null_mut(), null(), 0, null(), 0).0,
    ];
    assert_eq!(refused, [abi::INVALID_ARGUMENT; 16]);
    // Nobody needs to take the error, and destroying nothing is fine.
    // SAFETY: what the header allows.
    unsafe {
        assert_eq!(table.device_count.unwrap()(null_mut(), null_mut()), abi::INVALID_ARGUMENT);
        table.device_close.unwrap()(null_mut());
        table.executable_free.unwrap()(null_mut());
        table.context_free.unwrap()(null_mut());
    }
}

#[test]
fn hosts_of_other_sizes_and_versions() {
    let _turn = turn();
    let table = negate();
    let older = older_host();
    assert_eq!(call!(table, init, older.as_ptr().cast()).0, abi::OK, "no log, no threads: still a host");
    assert_eq!(call!(table, init, older.as_ptr().cast()).0, abi::INVALID_ARGUMENT, "twice");
    let mut count = 0;
    assert_eq!(call!(table, device_count, &raw mut count).0, abi::OK);
    assert_eq!(count, 1);
    // SAFETY: nothing is open.
    unsafe { table.deinit.unwrap()() };
    assert_eq!(call!(table, device_count, &raw mut count).0, abi::INVALID_ARGUMENT, "after the end");
    // SAFETY: harmless, as destroying nothing is.
    unsafe { table.deinit.unwrap()() };
    let mut newer = host();
    newer.struct_size += 80;
    newer.abi_minor = 9;
    assert_eq!(call!(table, init, &raw const newer).0, abi::OK);
    // SAFETY: nothing is open.
    unsafe { table.deinit.unwrap()() };
    let mut other = host();
    other.abi_major = 2;
    assert_eq!(call!(table, init, &raw const other).0, abi::INCOMPATIBLE);
    assert_eq!(ALIVE.load(Ordering::SeqCst), 0);
}

unsafe extern "C" fn keep(ctx: *mut c_void, bytes: *const c_void, len: usize) -> abi::Status {
    // SAFETY: the test's own context; the SDK's bytes.
    let (kept, bytes) =
        unsafe { (&mut *ctx.cast::<Vec<u8>>(), std::slice::from_raw_parts(bytes.cast::<u8>(), len)) };
    if kept.len() + len > 90_000 {
        return abi::CANCELLED;
    }
    kept.extend_from_slice(bytes);
    abi::OK
}

#[test]
fn sinks_may_refuse() {
    let _turn = turn();
    let open = open();
    let mut kept: Vec<u8> = Vec::new();
    let sink = abi::Sink { ctx: (&raw mut kept).cast(), write: Some(keep) };
    assert_eq!(call!(open.table, capabilities, open.device, &raw const sink).0, abi::CANCELLED);
    assert_eq!(kept.len(), 1 << 16);
    let sink = abi::Sink { ctx: null_mut(), write: None };
    assert_eq!(call!(open.table, capabilities, open.device, &raw const sink).0, abi::INVALID_ARGUMENT);
}

#[test]
fn blobs_come_back_whole_or_not_at_all() {
    let _turn = turn();
    let open = open();
    let executable = open.compile(&chain(&[("Neg", "a")])).unwrap();
    let mut blob: Vec<u8> = Vec::new();
    let sink = abi::Sink { ctx: (&raw mut blob).cast(), write: Some(keep) };
    assert_eq!(call!(open.table, blob_save, executable, &raw const sink).0, abi::OK);
    let load = |bytes: &[u8]| {
        let mut loaded = null_mut();
        match call!(open.table, blob_load, open.device, abi::Bytes::of(bytes), &raw mut loaded) {
            (abi::OK, _) => Ok(loaded),
            (status, _) => Err(status),
        }
    };
    let check = |bytes: &[u8]| {
        let mut answer = -1;
        let tag = &bytes[..bytes.len().min(abi::BLOB_TAG_MAX)];
        assert_eq!(
            call!(open.table, blob_check, open.device, abi::Bytes::of(tag), &raw mut answer).0,
            abi::OK
        );
        answer
    };
    assert_eq!(check(&blob), abi::BLOB_OPTIMAL);
    let loaded = load(&blob).unwrap();
    let context = open.context(loaded);
    let (mut x, mut y) = ([1i8, 2, 3], [0i8; 3]);
    assert_eq!(open.run(context, &tensor(0, &mut x), &mut tensor(1, &mut y)).0, abi::OK);
    assert_eq!(y, [-1, -2, -3]);
    let mut again: Vec<u8> = Vec::new();
    let sink = abi::Sink { ctx: (&raw mut again).cast(), write: Some(keep) };
    assert_eq!(call!(open.table, blob_save, loaded, &raw const sink).0, abi::OK);
    assert_eq!(again, blob, "the same bytes out");
    open.free(loaded, context);
    for len in 0..blob.len() {
        assert!(load(&blob[..len]).is_err(), "cut to {len}");
    }
    for byte in 0..blob.len() {
        let mut flipped = blob.clone();
        flipped[byte] ^= 0x10;
        assert!(load(&flipped).is_err(), "byte {byte} flipped");
    }
    let mut other = blob.clone();
    other[12] ^= 1;
    assert_eq!((check(&other), load(&other).unwrap_err()), (abi::BLOB_REFUSED, abi::INCOMPATIBLE));
    assert_eq!(check(b""), abi::BLOB_REFUSED);
    // SAFETY: made a moment ago.
    unsafe { open.table.executable_free.unwrap()(executable) };
}
