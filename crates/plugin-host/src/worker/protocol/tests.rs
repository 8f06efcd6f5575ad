//! Whatever bytes come: a message or a fault, and memory for no more than came.

use std::fmt::Debug;

use fewbit_testing::Random;
use proptest::prelude::*;

use super::*;
use crate::error::PluginErrorKind;
use crate::program::{Attribute, Items, Node, Quant, Span, Value};

/// What the other end of a socket makes of `sent`, all of it sent before it looks.
fn received<T: DeserializeOwned>(sent: &[u8]) -> Result<T, Fault> {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // The reader may give up before all is sent.
            let _ = ours.write_all(sent);
        });
        let message = Connection::new(theirs).receive(Some(Instant::now() + Duration::from_secs(20)));
        message.map(|(message, descriptors)| {
            assert!(descriptors.is_empty(), "none were sent");
            message
        })
    })
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = (bytes.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(bytes);
    frame
}

/// A value is one that can be sent again and is read as the same; everything else is a fault that says what is wrong.
fn value_or_fault<T: Serialize + DeserializeOwned + Debug>(sent: &[u8]) {
    match received::<T>(sent) {
        Ok(message) => {
            let again = framed(&postcard::to_stdvec(&message).unwrap());
            let read = received::<T>(&again).unwrap();
            assert_eq!(format!("{read:?}"), format!("{message:?}"));
        }
        Err(Fault::Garbled(what)) => assert!(!what.is_empty()),
        Err(Fault::Closed) => {}
        Err(Fault::Late) => panic!("all was sent, and the reader waited"),
    }
}

fn program() -> Program {
    let quant = Quant {
        scheme: 1,
        granularity: 2,
        axis: -1,
        block_size: 32,
        scales: vec![0.5, f32::NAN],
        zero_points: vec![-7, 255],
    };
    let value = |name: &str, constant| Value {
        name: name.to_owned(),
        flags: 3,
        dims: vec![1, -1, i64::MAX],
        code: 2,
        bits: 8,
        quant: Some(quant.clone()),
        constant,
    };
    let attribute = |name: &str, value| Attribute { name: name.to_owned(), value };
    Program {
        values: vec![value("x", None), value("weights", Some(Span { offset: 64, len: 1 << 20 }))],
        nodes: vec![Node {
            name: "product".to_owned(),
            domain: String::new(),
            op_type: "MatMul".to_owned(),
            inputs: vec![0, u32::MAX, 1],
            outputs: vec![1],
            attributes: vec![
                attribute("axes", Items::Ints(vec![-1, 2])),
                attribute("mode", Items::Text("edge".into())),
            ],
        }],
        inputs: vec![0],
        outputs: vec![1],
        options: vec![attribute("threads", Items::Int(2)), attribute("bias", Items::Float(0.25))],
    }
}

/// One message of every kind that carries something.
fn events() -> Vec<Vec<u8>> {
    let identity = Identity {
        id: "com.example.npu".into(),
        vendor: "Example".into(),
        version: "1.0".into(),
        build: "a".into(),
        abi_minor: 1,
    };
    let replies = [
        Reply::Loaded { identity, devices: 2 },
        Reply::Document("{\"schema\": 1}".repeat(40)),
        Reply::Verdicts(vec![None, Some(3), None, Some(u32::MAX)]),
        Reply::Executable(7),
        Reply::Footprint(Some([1, u64::MAX, 3])),
        Reply::Footprint(None),
        Reply::Done,
        Reply::Failed(PluginError::new(PluginErrorKind::Call, "expected more").during("compile")),
    ];
    let mut events: Vec<Event> = replies.into_iter().map(Event::Reply).collect();
    events.push(Event::Stage("compile".into()));
    events.push(Event::Log { level: -1, target: "npu".into(), text: "a line\nand another".into() });
    events.iter().map(|event| postcard::to_stdvec(event).unwrap()).collect()
}

fn requests() -> Vec<Vec<u8>> {
    let shipped = || Shipped { program: program(), constant_bytes: 1 << 21 };
    let requests = [
        Request::Capabilities { device: 1 },
        Request::Supports { device: 0, program: shipped() },
        Request::Compile { device: 3, program: shipped() },
        Request::Footprint { executable: 9 },
        Request::Free { executable: u32::MAX },
        Request::Observe { check: Check::NoProgram, program: Some(shipped()) },
    ];
    requests.iter().map(|request| postcard::to_stdvec(request).unwrap()).collect()
}

/// Changes a few bytes of `bytes` as a broken or malicious sender might: flips, runs of 255 (long numbers), cuts,
/// insertions and parts said twice.
fn mutated(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + 1 + random.below(12)).min(bytes.len());
        match random.below(6) {
            0 if at < end => bytes[at] ^= 1 << random.below(8),
            1 if at < end => bytes[at] = *random.choose(&[0, 1, 0x7f, 0x80, 0xff]),
            2 => bytes[at..end].fill(0xff),
            3 => bytes.truncate(at),
            4 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => bytes.insert(at, random.below(256) as u8),
        }
    }
    bytes
}

/// The most memory that this process had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_bytes_are_a_message_or_a_fault(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        value_or_fault::<Event>(&framed(&bytes));
        value_or_fault::<Request>(&framed(&bytes));
        // Without a length of ours in front the first bytes are one.
        value_or_fault::<Event>(&bytes);
    }

    #[test]
    fn changed_messages_are_a_message_or_a_fault(seed in any::<u64>()) {
        for bytes in events() {
            value_or_fault::<Event>(&framed(&mutated(&bytes, seed)));
            value_or_fault::<Event>(&mutated(&framed(&bytes), seed));
        }
        for bytes in requests() {
            value_or_fault::<Request>(&framed(&mutated(&bytes, seed)));
        }
    }
}

#[test]
fn messages_are_read_as_they_were_sent() {
    for bytes in events() {
        let event = received::<Event>(&framed(&bytes)).unwrap();
        assert_eq!(postcard::to_stdvec(&event).unwrap(), bytes);
    }
    for bytes in requests() {
        let request = received::<Request>(&framed(&bytes)).unwrap();
        assert_eq!(postcard::to_stdvec(&request).unwrap(), bytes);
    }
}

#[test]
fn lengths_alone_take_no_memory() {
    let before = peak();
    // Varints of 2^35 and 2^63 elements behind the tag of each variant, in frames that end there.
    for tag in 0..12u8 {
        for number in
            [&[0xff, 0xff, 0xff, 0xff, 0x7f][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]]
        {
            for kind in 0..4u8 {
                let bytes = [&[kind, tag], number, number].concat();
                assert!(received::<Event>(&framed(&bytes)).is_err());
                assert!(received::<Request>(&framed(&bytes[1..])).is_err());
            }
        }
    }
    // A frame said to be as long as frames may be, of which nothing comes.
    assert!(matches!(received::<Event>(&(FRAME_MAX as u32).to_le_bytes()), Err(Fault::Closed)));
    let longer = received::<Event>(&(FRAME_MAX as u32 + 1).to_le_bytes());
    assert!(
        matches!(longer, Err(Fault::Garbled(what)) if what.contains("expected a frame of at most 67108864"))
    );
    // Other tests of this process have their share of what is allowed here.
    let grown = peak() - before;
    assert!(grown < 256 << 20, "{grown} bytes for a few bytes received");
}

/// A machine that is put to sleep, or a debugger, stops this process and lets it go on: reads with a time limit then
/// end early, and nobody has closed anything.
#[test]
fn a_process_that_was_stopped_goes_on_waiting() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut ours, mut theirs) = (Connection::new(ours), Connection::new(theirs));
    let read = std::thread::spawn(move || {
        theirs.receive::<u32>(Some(Instant::now() + Duration::from_secs(20))).map(|(value, _)| value)
    });
    std::thread::sleep(Duration::from_millis(50));
    let stopped = std::process::Command::new("sh")
        .args(["-c", "kill -STOP $PPID && sleep 0.1 && kill -CONT $PPID"])
        .status()
        .unwrap();
    assert!(stopped.success());
    // The frame is sent after the interruption has had time to end the read.
    std::thread::sleep(Duration::from_millis(50));
    let sent = ours.send(&7u32, &[]);
    assert_eq!(read.join().unwrap().unwrap(), 7);
    sent.unwrap();
}
