//! Files as gzip packs them. They are known by their first two bytes, whatever their names: no text in UTF-8 begins so.

use flate2::read::MultiGzDecoder;
use std::io::Read;

/// What a packed file holds, all of its members; other bytes are left as they are.
pub fn unpacked(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut whole = Vec::new();
    let read = MultiGzDecoder::new(&bytes[..]).read_to_end(&mut whole);
    read.map_err(|why| format!("no whole gzip file, as which it begins: {why}"))?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::unpacked;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn what_is_packed_is_known_by_its_first_bytes() {
        let members = [packed(b"one "), packed(b"two")].concat();
        assert_eq!(unpacked(members.clone()), Ok(b"one two".to_vec()));
        for plain in [&b""[..], b"\x1f", b"one"] {
            assert_eq!(unpacked(plain.to_vec()), Ok(plain.to_vec()));
        }
        let cut = unpacked(members[..members.len() - 3].to_vec()).unwrap_err();
        assert!(cut.starts_with("no whole gzip file"), "{cut}");
    }
}
