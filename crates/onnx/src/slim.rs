//! Model files without their weights: the same messages, large tensors left where they lie.
//!
//! Decoding a file as a whole takes its size twice, once for the file and once for the tensors made of it. Here the
//! file is walked field by field, and every large `raw_data` becomes external data that lies in the model's own file,
//! under a mark of ours; the tensor is read from there, straight into its own memory. What is not understood is
//! copied as it is, so that decoding tells what is wrong with it.

use std::io::{BufRead, BufReader, Read, Result, Seek, SeekFrom};

use crate::external::OWN;

/// The messages on the way to a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
}

impl Message {
    /// The message in field `number`, where a tensor may lie below it.
    fn field(self, number: u64) -> Option<Self> {
        match (self, number) {
            (Message::Model, 7) | (Message::Attribute, 6) => Some(Message::Graph),
            (Message::Graph, 1) => Some(Message::Node),
            (Message::Node, 5) => Some(Message::Attribute),
            (Message::Graph | Message::Attribute, 5) => Some(Message::Tensor),
            _ => None,
        }
    }
}

/// Fields of TensorProto.
const RAW_DATA: u64 = 9;
const EXTERNAL_DATA: u64 = 13;
const DATA_LOCATION: u64 = 14;

/// Deepest nesting of messages that is looked into.
const MAX_DEPTH: usize = 64;

/// The model in `file` with every `raw_data` of `least` bytes or more left in the file.
///
/// `None` where the file is no message of ONNX as far as it was walked; decode it whole to tell why.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn slim(file: &mut (impl Read + Seek), least: u64) -> Result<Option<Vec<u8>>> {
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut walk = Walk { file: BufReader::with_capacity(1 << 16, file), at: 0, least };
    walk.message(Message::Model, end, 0)
}

struct Walk<R> {
    file: BufReader<R>,
    /// Place in the file.
    at: u64,
    least: u64,
}

impl<R: Read + Seek> Walk<R> {
    /// The message that ends at `end`, slim; `None` where it is malformed.
    fn message(&mut self, kind: Message, end: u64, depth: usize) -> Result<Option<Vec<u8>>> {
        let mut slim = Vec::new();
        let mut raw = None;
        while self.at < end {
            let Some(tag) = self.varint()? else { return Ok(None) };
            let number = tag >> 3;
            match tag & 7 {
                0 => {
                    let Some(value) = self.varint()? else { return Ok(None) };
                    write_varint(&mut slim, tag);
                    write_varint(&mut slim, value);
                }
                wire @ (1 | 5) => {
                    write_varint(&mut slim, tag);
                    if !self.copy(if wire == 1 { 8 } else { 4 }, end, &mut slim)? {
                        return Ok(None);
                    }
                }
                2 => {
                    let Some(length) = self.varint()? else { return Ok(None) };
                    let Some(until) = self.at.checked_add(length).filter(|&until| until <= end) else {
                        return Ok(None);
                    };
                    if kind == Message::Tensor && number == EXTERNAL_DATA {
                        // It says itself where its elements are.
                        return Ok(None);
                    }
                    if kind == Message::Tensor && number == RAW_DATA && length >= self.least {
                        raw = Some((self.at, length));
                        self.skip(length)?;
                        continue;
                    }
                    let start = self.at;
                    let child = kind.field(number).filter(|_| length >= self.least && depth < MAX_DEPTH);
                    let child = match child {
                        Some(child) => self.message(child, until, depth + 1)?,
                        None => None,
                    };
                    write_varint(&mut slim, tag);
                    if let Some(child) = child {
                        write_varint(&mut slim, child.len() as u64);
                        slim.extend_from_slice(&child);
                    } else {
                        self.file.seek(SeekFrom::Start(start))?;
                        self.at = start;
                        write_varint(&mut slim, length);
                        if !self.copy(length, end, &mut slim)? {
                            return Ok(None);
                        }
                    }
                }
                // Groups, which ONNX has none of.
                _ => return Ok(None),
            }
        }
        if let Some((offset, length)) = raw {
            refer(&mut slim, offset, length);
        }
        Ok((self.at == end).then_some(slim))
    }

    /// The next number; `None` where the file ends or the number is too long.
    fn varint(&mut self) -> Result<Option<u64>> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.file.fill_buf()?.first() else { return Ok(None) };
            self.file.consume(1);
            self.at += 1;
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Appends the next `length` bytes; false where they would go beyond `end`.
    fn copy(&mut self, length: u64, end: u64, slim: &mut Vec<u8>) -> Result<bool> {
        if length > end - self.at {
            return Ok(false);
        }
        let copied = (&mut self.file).take(length).read_to_end(slim)? as u64;
        self.at += copied;
        Ok(copied == length)
    }

    fn skip(&mut self, length: u64) -> Result<()> {
        self.at += length;
        match i64::try_from(length) {
            Ok(length) => self.file.seek_relative(length),
            Err(_) => self.file.seek(SeekFrom::Start(self.at)).map(drop),
        }
    }
}

/// Appends to a tensor that its elements lie in the model's own file.
fn refer(tensor: &mut Vec<u8>, offset: u64, length: u64) {
    let text = |entry: &mut Vec<u8>, number: u64, text: &str| {
        write_varint(entry, number << 3 | 2);
        write_varint(entry, text.len() as u64);
        entry.extend_from_slice(text.as_bytes());
    };
    for (key, value) in [(OWN, String::new()), ("offset", offset.to_string()), ("length", length.to_string())]
    {
        let mut entry = Vec::new();
        text(&mut entry, 1, key);
        text(&mut entry, 2, &value);
        write_varint(tensor, EXTERNAL_DATA << 3 | 2);
        write_varint(tensor, entry.len() as u64);
        tensor.extend_from_slice(&entry);
    }
    write_varint(tensor, DATA_LOCATION << 3);
    write_varint(tensor, 1);
}

fn write_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use prost::Message as _;

    use super::*;
    use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

    fn tensor(name: &str, bytes: usize) -> TensorProto {
        TensorProto {
            name: Some(name.to_owned()),
            dims: vec![bytes as i64],
            data_type: Some(3),
            raw_data: Some((0..bytes).map(|i| i as u8).collect::<Vec<_>>().into()),
            ..TensorProto::default()
        }
    }

    fn model() -> ModelProto {
        let constant = NodeProto {
            op_type: Some("Constant".to_owned()),
            output: vec!["c".to_owned()],
            attribute: vec![AttributeProto {
                name: Some("value".to_owned()),
                t: Some(tensor("", 300)),
                ..AttributeProto::default()
            }],
            ..NodeProto::default()
        };
        ModelProto {
            ir_version: Some(8),
            producer_name: Some("x".repeat(200)),
            graph: Some(GraphProto {
                node: vec![constant],
                initializer: vec![tensor("small", 99), tensor("large", 100), tensor("larger", 5000)],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
    }

    /// Puts back what `refer` left in `file`.
    fn whole(tensor: &mut TensorProto, file: &[u8]) {
        let field = |key: &str| {
            let entry = tensor.external_data.iter().find(|entry| entry.key() == key);
            entry.and_then(|entry| entry.value().parse::<usize>().ok())
        };
        if let (Some(offset), Some(length)) = (field("offset"), field("length")) {
            tensor.raw_data = Some(file[offset..offset + length].to_vec().into());
            tensor.external_data.clear();
            tensor.data_location = None;
        }
    }

    #[test]
    fn large_tensors_stay_in_the_file_and_nothing_else_changes() {
        let model = model();
        let file = model.encode_to_vec();
        let slim = slim(&mut Cursor::new(&file), 100).unwrap().unwrap();
        assert!(slim.len() < 900, "{}", slim.len());
        let mut read = ModelProto::decode(slim.as_slice()).unwrap();
        let graph = read.graph.as_mut().unwrap();
        assert!(graph.initializer[0].external_data.is_empty() && graph.initializer[1].raw_data.is_none());
        let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
        for tensor in graph.initializer.iter_mut().chain(attributes.filter_map(|a| a.t.as_mut())) {
            whole(tensor, &file);
        }
        assert_eq!(read, model);
    }

    #[test]
    fn truncated_files_are_left_to_the_decoder() {
        let file = model().encode_to_vec();
        for length in 0..file.len() {
            // Where a cut falls between two fields of the model the rest is a message; otherwise it is not.
            let slim = slim(&mut Cursor::new(&file[..length]), 100).unwrap();
            assert_eq!(slim.is_some(), ModelProto::decode(&file[..length]).is_ok(), "{length}");
        }
        assert!(slim(&mut Cursor::new(&[0x3b, 1, 2, 3]), 100).unwrap().is_none());
    }
}
