//! Frames: what travels, and how it is read and written.
//!
//! A frame is its length in four bytes, little endian, and as many bytes of postcard. Descriptors travel with the
//! length. Whoever reads believes nothing: lengths are bounded, bytes that are left over are an error.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Check, Observed};
use crate::adapter::{Identity, Slots};
use crate::error::PluginError;
use crate::load::Trust;
use crate::manifest::Manifest;
use crate::program::Program;

/// Bytes that a frame may have: a capability document and as much again.
const FRAME_MAX: usize = 64 << 20;
/// Descriptors that travel with one frame.
const DESCRIPTORS_MAX: usize = 3;

/// How long a side that waits for a byte stays awake. Two idle processors made a round trip of 71 to 83 microseconds
/// without it (`cargo bench -p fewbit-plugin-host --bench isolation`).
const AWAKE: Duration = Duration::from_micros(50);

/// The byte that asks a context for a run.
pub(crate) const RUN_REQUEST: u8 = b'r';
/// The byte that asks a context for the times of its nodes; a frame with their number follows.
pub(crate) const TIMES_REQUEST: u8 = b't';
/// The answer to a run that went well.
pub(crate) const RUN_OK: u8 = 0;
/// The answer to a run that did not: a frame with the error follows.
pub(crate) const RUN_FAILED: u8 = 1;

/// What a worker may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Seconds of processor time.
    pub cpu_seconds: Option<u64>,
    /// Bytes of address space.
    pub address_space: Option<u64>,
    /// Bytes of the largest file it may write.
    pub file_size: Option<u64>,
}

/// A program beside the shared memory of its constants, which travels as a descriptor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shipped {
    pub(crate) program: Program,
    pub(crate) constant_bytes: u64,
}

/// What the host asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first request.
    Load {
        manifest: Box<Manifest>,
        path: PathBuf,
        trust: Trust,
        log_level: u32,
        limits: Limits,
    },
    /// The document of a device.
    Capabilities {
        device: u32,
    },
    /// With the descriptor of the constants.
    Supports {
        device: u32,
        program: Shipped,
    },
    /// With the descriptor of the constants.
    Compile {
        device: u32,
        program: Shipped,
    },
    Footprint {
        executable: u32,
    },
    /// With the descriptors of a socket, the inputs' memory and the outputs' memory.
    Context {
        executable: u32,
        slots: Slots,
    },
    Free {
        executable: u32,
    },
    /// With the descriptor of the constants, where there is a program.
    Observe {
        check: Check,
        program: Option<Shipped>,
    },
}

/// What the worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Loaded { identity: Identity, devices: u32 },
    Document(String),
    Verdicts(Vec<Option<u32>>),
    Executable(u32),
    Footprint(Option<[u64; 3]>),
    Done,
    Observed(Observed),
    Failed(PluginError),
}

/// What the worker sends.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// The call it is about to make.
    Stage(String),
    /// A line of the plugin's log.
    Log {
        level: i32,
        target: String,
        text: String,
    },
    Reply(Reply),
}

/// Why nothing was read or sent.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The other side is gone.
    Closed,
    /// It did not answer in time.
    Late,
    /// What it sent is no frame.
    Garbled(String),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Fault::Late,
            _ => Fault::Closed,
        }
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(error: rustix::io::Errno) -> Self {
        std::io::Error::from(error).into()
    }
}

/// One end of a socket.
pub(crate) struct Connection {
    stream: UnixStream,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream }
    }

    /// Sends a frame with descriptors.
    pub(crate) fn send<T: Serialize>(
        &mut self,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Fault> {
        let bytes = postcard::to_stdvec(message).map_err(|error| Fault::Garbled(error.to_string()))?;
        if bytes.len() > FRAME_MAX {
            let message = format!("expected a frame of at most {FRAME_MAX} bytes, found {}", bytes.len());
            return Err(Fault::Garbled(message));
        }
        let length = (bytes.len() as u32).to_le_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Fault::Garbled("expected fewer descriptors".to_owned()));
        }
        let vectors = [IoSlice::new(&length)];
        // Without a signal where the other side is gone.
        let sent = rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&self.stream, &vectors, &mut ancillary, SendFlags::NOSIGNAL)
        })?;
        self.stream.write_all(&length[sent.min(4)..])?;
        self.stream.write_all(&bytes)?;
        Ok(())
    }

    /// The next frame with its descriptors, before `deadline` where there is one.
    pub(crate) fn receive<T: DeserializeOwned>(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<(T, Vec<OwnedFd>), Fault> {
        let mut length = [0u8; 4];
        let mut descriptors = Vec::new();
        let mut read = 0;
        while read < 4 {
            self.patience(deadline)?;
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut target = [IoSliceMut::new(&mut length[read..])];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = match rustix::net::recvmsg(&self.stream, &mut target, &mut ancillary, flags) {
                // A process that was stopped and goes on has its reads with a time limit ended (signal(7)).
                Err(rustix::io::Errno::INTR) => continue,
                received => received?,
            };
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(list) = message {
                    descriptors.extend(list);
                }
            }
            if received.bytes == 0 {
                return Err(Fault::Closed);
            }
            read += received.bytes;
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > FRAME_MAX {
            let message = format!("expected a frame of at most {FRAME_MAX} bytes, found {length}");
            return Err(Fault::Garbled(message));
        }
        let mut bytes = Vec::new();
        while bytes.len() < length {
            // Grown as bytes come, so that a length alone allocates nothing.
            let start = bytes.len();
            bytes.resize(length.min(start + (1 << 20)), 0);
            self.patience(deadline)?;
            self.stream.read_exact(&mut bytes[start..])?;
        }
        match postcard::take_from_bytes(&bytes) {
            Ok((message, [])) => Ok((message, descriptors)),
            Ok(_) => Err(Fault::Garbled("expected no bytes behind the message".to_owned())),
            Err(error) => Err(Fault::Garbled(error.to_string())),
        }
    }

    /// Sends one byte.
    pub(crate) fn send_byte(&mut self, byte: u8) -> Result<(), Fault> {
        self.stream.write_all(&[byte])?;
        Ok(())
    }

    /// The next byte.
    ///
    /// Looks for it awake for [`AWAKE`] before it sleeps: waking an idle processor takes longer than a short run.
    pub(crate) fn receive_byte(&mut self) -> Result<u8, Fault> {
        let mut byte = [0];
        let asleep = Instant::now() + AWAKE;
        while Instant::now() < asleep {
            match rustix::net::recv(&self.stream, &mut byte[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Fault::Closed),
                Ok(_) => return Ok(byte[0]),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => std::hint::spin_loop(),
                Err(error) => return Err(error.into()),
            }
        }
        self.stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// How long the following read may take.
    pub(crate) fn patience(&self, deadline: Option<Instant>) -> Result<(), Fault> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(Fault::Late);
        }
        self.stream.set_read_timeout(left)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
