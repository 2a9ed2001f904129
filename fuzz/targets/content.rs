//! Content objects: the verdict does not depend on the pieces that they arrive in.
#![no_main]

use flatpass_ostree::ContentCheck;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // A few bytes of compressed content may stand for very many.
    if bytes.len() > 64 << 10 {
        return;
    }
    let check = |pieces: &[&[u8]]| {
        let mut check = ContentCheck::new();
        pieces.iter().try_for_each(|piece| check.push(piece)).and_then(|()| check.finish())
    };
    let whole = check(&[bytes]);
    let pieces = check(&bytes.chunks(7).collect::<Vec<_>>());
    assert_eq!(whole.is_ok(), pieces.is_ok(), "another verdict in pieces");
    if let (Ok(one), Ok(other)) = (whole, pieces) {
        assert_eq!(one, other);
    }
});
