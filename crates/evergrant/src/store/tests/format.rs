//! Every record survives the file, and no bytes upset its reader.

use evergrant_core::keeper::SharedFailure;
use evergrant_core::time::{Now, Offset, OffsetInterval, Server, Wall};
use evergrant_core::wire::{TokenFailure, TokenFailureKind};
use proptest::prelude::*;

use super::super::format;
use super::*;
use crate::clock::BootId;

prop_compose! {
    fn any_stamp()(
        boot_id in proptest::option::of("[a-f0-9-]{36}"), boot: i64, wall: i64, store in proptest::option::of(any::<i64>()),
    ) -> Stamp {
        let (boot_id, store) = (boot_id.map(BootId::new), store.map(Server::from_nanos));
        Stamp { boot_id, boot: Boot::from_nanos(boot), wall: Wall::from_nanos(wall), store }
    }
}

prop_compose! {
    fn any_issued()(sent in any_stamp(), received: i64, ends in proptest::option::of((any::<i64>(), any::<i64>()))) -> Issued {
        let offset = ends.map(|(a, b)| OffsetInterval { lo: Offset::from_nanos(a.min(b)), hi: Offset::from_nanos(a.max(b)) });
        Issued { sent, received: Boot::from_nanos(received), offset, store_offset: offset.filter(|_| received % 2 == 0) }
    }
}

fn failed(now: Now) -> Failed {
    let failure = TokenFailure::of(TokenFailureKind::RateLimited).with_status(429);
    let shared = SharedFailure { failure, streak: 2, not_before: now.boot + Span::from_secs(7) };
    Failed::new(&shared, Stamp::of(now, None)).unwrap()
}

prop_compose! {
    fn any_record()(
        generation: u64,
        tokens in proptest::collection::vec(proptest::option::of("\\PC{0,40}"), 3),
        lifetime in proptest::option::of(any::<i64>()),
        seeds in proptest::collection::vec("[a-z]{1,8}", 0..4),
        issued in proptest::option::of(any_issued()),
        intended: bool,
        mints in proptest::collection::vec(any_stamp(), 0..5),
    ) -> Record {
        let secret = |n: usize| tokens[n].clone().map(Secret::new);
        let now = Now { boot: Boot::from_secs(5), wall: Wall::from_secs(6) };
        Record {
            generation,
            access_token: secret(0),
            token_type: tokens[2].clone(),
            expires_in: lifetime.map(Span::from_nanos),
            refresh_token: secret(1),
            seeds: seeds.iter().map(|seed| TokenHash::of(&Secret::from(seed.as_str()))).collect(),
            issued,
            intent: intended.then(|| Intent::new(secret(1).as_ref(), Stamp::of(now, None))),
            failed: intended.then(|| failed(now)).filter(|_| generation % 2 == 0),
            mints,
        }
    }
}

proptest! {
    #[test]
    fn any_record_survives_the_file(record in any_record(), other in any_record(), sealed: bool) {
        let sealing = if sealed { format::Sealing::Sealed(seal_key("k")) } else { format::Sealing::Plain };
        let mut document = format::Document::empty(&sealing, None);
        for (label, record) in [("a", &record), ("b", &other)] {
            let entry = format::Entry::close(&sealing, &key(label), 3, record);
            document.credentials.insert(key(label).as_str().to_owned(), entry);
        }
        let bytes = document.to_bytes();
        let read = format::Document::parse(&bytes).map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        for (label, record) in [("a", &record), ("b", &other)] {
            let entry = &read.credentials[key(label).as_str()];
            let opened = entry.open(&sealing, &key(label));
            prop_assert_eq!(opened.as_ref(), Ok(record));
        }
        for cut in [bytes.len() / 3, bytes.len() - 3] {
            prop_assert!(matches!(format::Document::parse(&bytes[..cut]), Err(format::Unreadable::Damaged(_))));
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), ours: bool) {
        let start: &[u8] = if ours { b"{\"evergrant_store\":1,\"sealing\":\"plain\",\"credentials\":" } else { b"" };
        let _ = format::Document::parse(&[start, &bytes].concat());
    }
}
