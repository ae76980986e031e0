//! The checksums that SQS answers with, by which a client knows that its message arrived whole.

use serde_json::Value;

pub(super) fn md5_hex(bytes: &[u8]) -> String {
    format!("{:x}", md5::compute(bytes))
}

/// The checksum of String and Number attributes, as SQS documents it. It covers each attribute in the order of the
/// names: the name, the type, a byte for the kind of value, and the value, each text preceded by its length in four
/// bytes.
///
/// # Panics
/// For a Binary attribute, which nothing here sends.
pub fn md5_of_attributes(attributes: &Value) -> String {
    let mut encoded = Vec::new();
    // A JSON object of serde_json has its keys in order.
    for (name, attribute) in attributes.as_object().expect("an object of attributes") {
        let data_type = attribute["DataType"].as_str().expect("a data type");
        let value = attribute["StringValue"].as_str().expect("a String or Number value");
        append(&mut encoded, name);
        append(&mut encoded, data_type);
        encoded.push(1);
        append(&mut encoded, value);
    }
    md5_hex(&encoded)
}

fn append(encoded: &mut Vec<u8>, text: &str) {
    encoded.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    encoded.extend_from_slice(text.as_bytes());
}
