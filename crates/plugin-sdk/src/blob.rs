//! The frame around a saved executable: whose it is, what it must be given, and whether it is whole.
//!
//! ```text
//! magic (8) | length of the tag (2) | tag: id NUL version NUL build | zeros up to 256 bytes
//! ports of inputs, ports of outputs: count (4), each value (4) code (1) bits (1) rank (2) extents (8 each)
//! length of what the plugin wrote (8) | what the plugin wrote | check sum over everything before it (8)
//! ```
//!
//! Numbers are little endian.

use fewbit_abi as abi;

use crate::error::{Error, Result, Status, Why};
use crate::program::DType;
use crate::tensor::{Port, Signature};

const MAGIC: [u8; 8] = *b"FBTBLOB1";

/// What tells one build of a plugin from another.
pub(crate) struct Tag {
    pub(crate) id: &'static str,
    pub(crate) version: &'static str,
    pub(crate) build: &'static str,
}

impl Tag {
    fn text(&self) -> String {
        let text = [self.id, self.version, self.build].join("\0");
        // Longer ones are cut: the check sum of all tells them apart still.
        let sum = check_sum(text.as_bytes());
        let room = abi::BLOB_TAG_MAX - MAGIC.len() - 2 - 17;
        format!("{}\0{sum:016x}", &text[..text.floor_char_boundary(room)])
    }

    /// The first 256 bytes of a blob of this build.
    fn head(&self) -> Vec<u8> {
        let text = self.text();
        let mut head = MAGIC.to_vec();
        head.extend((text.len() as u16).to_le_bytes());
        head.extend(text.bytes());
        head.resize(abi::BLOB_TAG_MAX, 0);
        head
    }

    /// Whether a blob that begins so can be loaded by this build.
    pub(crate) fn check(&self, tag: &[u8]) -> i32 {
        let head = self.head();
        if tag.len() >= head.len() && tag.starts_with(&head) { abi::BLOB_OPTIMAL } else { abi::BLOB_REFUSED }
    }
}

/// FNV-1a, 64 bits: notices what happens to files, not who forges them (manifests have hashes for that).
fn check_sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

pub(crate) fn write(tag: &Tag, signature: &Signature, payload: &[u8]) -> Vec<u8> {
    let mut blob = tag.head();
    for ports in [&signature.inputs, &signature.outputs] {
        blob.extend((ports.len() as u32).to_le_bytes());
        for port in ports {
            blob.extend(port.value.to_le_bytes());
            blob.extend([port.dtype.code(), port.dtype.bits() as u8]);
            blob.extend((port.dims.len() as u16).to_le_bytes());
            blob.extend(port.dims.iter().flat_map(|dim| dim.to_le_bytes()));
        }
    }
    blob.extend((payload.len() as u64).to_le_bytes());
    blob.extend(payload);
    blob.extend(check_sum(&blob).to_le_bytes());
    blob
}

/// Signature and payload of a blob of this build.
pub(crate) fn read<'b>(tag: &Tag, blob: &'b [u8]) -> Result<(Signature, &'b [u8])> {
    let broken = || Error::invalid("the blob is cut off or damaged").because(Why::SHAPE);
    if !blob.starts_with(&MAGIC) {
        return Err(Error::invalid("this is no blob of a plugin").because(Why::SHAPE));
    }
    if tag.check(blob) != abi::BLOB_OPTIMAL {
        return Err(Error::new(Status::Incompatible, "the blob is of another plugin or build")
            .because(Why::DEPENDENCY));
    }
    let (body, sum) = blob.split_last_chunk::<8>().ok_or_else(broken)?;
    if check_sum(body) != u64::from_le_bytes(*sum) {
        return Err(broken());
    }
    let mut rest = body.get(abi::BLOB_TAG_MAX..).ok_or_else(broken)?;
    let inputs = ports(&mut rest).ok_or_else(broken)?;
    let outputs = ports(&mut rest).ok_or_else(broken)?;
    let len = u64::from_le_bytes(take(&mut rest).ok_or_else(broken)?);
    if rest.len() as u64 != len {
        return Err(broken());
    }
    Ok((Signature { inputs, outputs }, rest))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn ports(rest: &mut &[u8]) -> Option<Vec<Port>> {
    let count = u32::from_le_bytes(take(rest)?);
    (0..count)
        .map(|_| {
            let value = u32::from_le_bytes(take(rest)?);
            let [code, bits] = take(rest)?;
            let rank = u16::from_le_bytes(take(rest)?);
            let dims = (0..rank).map(|_| Some(i64::from_le_bytes(take(rest)?))).collect::<Option<_>>()?;
            Some(Port { value, dtype: DType::from_parts(code, bits), dims })
        })
        .collect()
}
