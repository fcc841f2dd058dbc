//! The hash that tells one text, one set of weights or one trial from another.

/// FNV-1a over words. Bytes are words below 256, so that of bytes it is the published hash; it is kept in shards,
/// checkpoints and results, and so stays what it is.
pub fn fnv(words: impl IntoIterator<Item = u64>) -> u64 {
    let words = words.into_iter();
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        (hash ^ word).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::fnv;

    /// The values that its authors publish.
    #[test]
    fn of_bytes_it_is_the_published_one() {
        let of = |text: &str| fnv(text.bytes().map(u64::from));
        assert_eq!(of(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(of("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(of("foobar"), 0x8594_4171_f739_67e8);
    }
}
