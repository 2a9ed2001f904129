use std::collections::HashSet;

use flatpass_token::{Secret, SecretHash, SecretHashError};
use rand::SeedableRng;
use rand::rngs::StdRng;

#[test]
fn a_new_secret_is_its_prefix_and_32_characters_that_need_no_quoting() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut counts = [0_u32; 128];
    let mut seen = HashSet::new();
    for _ in 0..2000 {
        let secret = Secret::generate("fpa_", &mut rng);
        let random = secret.expose().strip_prefix("fpa_").expect("the prefix");
        assert_eq!(random.len(), 32);
        for byte in random.bytes() {
            assert!(byte.is_ascii_alphanumeric());
            counts[usize::from(byte)] += 1;
        }
        assert!(seen.insert(random.to_owned()), "the same secret twice");
    }
    // 64000 characters of 62 kinds: 1032 each, give or take 32. Six times that is no accident.
    for (byte, count) in counts.iter().enumerate().filter(|(byte, _)| (*byte as u8).is_ascii_alphanumeric()) {
        assert!((840..=1225).contains(count), "{} came {count} times", byte as u8 as char);
    }
}

#[test]
fn a_secret_is_the_same_again_for_the_same_seed_only() {
    let made = |seed| Secret::generate("", &mut StdRng::seed_from_u64(seed)).expose().to_owned();
    assert_eq!(made(1), made(1));
    assert_ne!(made(1), made(2));
}

#[test]
fn the_hash_of_a_secret_is_its_sha_256_in_hexadecimal() {
    let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let hash = SecretHash::of("abc");
    assert_eq!(hash.to_text(), text);
    assert_eq!(text.parse::<SecretHash>(), Ok(hash));
    assert_eq!(Secret::from("abc".to_owned()).hash(), hash);
    assert_ne!(SecretHash::of("abd"), hash);
    let (upper, short, long) = (text.to_uppercase(), &text[1..], format!("{text}0"));
    for wrong in ["", &upper, short, &long, &text.replace('b', "g"), &"ü".repeat(32)] {
        assert_eq!(wrong.parse::<SecretHash>(), Err(SecretHashError), "{wrong}");
    }
}

#[test]
fn debug_shows_neither_a_secret_nor_its_whole_hash() {
    let secret = Secret::from("fpa_hunter2".to_owned());
    assert!(!format!("{secret:?}").contains("hunter2"));
    assert!(!format!("{:?}", secret.hash()).contains(&secret.hash().to_text()[..16]));
}
