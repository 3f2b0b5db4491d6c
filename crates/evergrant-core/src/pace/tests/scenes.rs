//! Scenes that people would recognise.

use super::*;

const MINUTE: Span = Span::from_secs(60);

fn five() -> Vec<Program> {
    [("a", 8), ("b", 1), ("c", 3), ("d", 8), ("e", 1)].map(|(name, n)| Program::eager(name, n)).to_vec()
}

#[test]
fn five_callers_share_three_hundred_a_minute_without_a_429_and_within_ten_percent() {
    for rounds_up in [true, false] {
        let mut provider = Provider::new(300, MINUTE);
        provider.rounds_up = rounds_up;
        let mut world = World::new(PaceRules::default(), provider, five(), Span::from_millis(40));
        world.run(MINUTE.scaled(5, 1) - Span::from_secs(1));
        assert_eq!((world.provider.refused, world.visible), (0, 0));
        let total: u32 = world.done.iter().sum();
        assert!(total >= 5 * 300 * 9 / 10, "{total} of 1500 were used");
        let fair = total / 5;
        for done in &world.done {
            assert!(done.abs_diff(fair) * 10 <= fair, "{:?}", world.done);
        }
    }
}

#[test]
fn weights_divide_the_limit() {
    let rules = PaceRules { weights: [("a".to_owned(), 3)].into(), ..PaceRules::default() };
    let programs = vec![Program::eager("a", 2), Program::eager("b", 9)];
    let mut world = World::new(rules, Provider::new(300, MINUTE), programs, Span::from_millis(5));
    // To the end of a window, since each begins with bursts.
    world.run(MINUTE.scaled(4, 1) - Span::from_secs(1));
    let (heavy, light) = (f64::from(world.done[0]), f64::from(world.done[1]));
    assert!((2.7..3.3).contains(&(heavy / light)), "{:?}", world.done);
    assert_eq!(world.visible, 0);
}

#[test]
fn a_caller_alone_has_half_of_the_window_at_once_and_the_rest_spread_out() {
    let world_after = |millis| {
        let provider = Provider::new(300, MINUTE);
        let mut world =
            World::new(PaceRules::default(), provider, vec![Program::eager("a", 4)], Span::from_micros(500));
        world.run(Span::from_millis(millis));
        world.done[0]
    };
    assert!((140..=156).contains(&world_after(1_000)), "{}", world_after(1_000));
    assert!((210..=230).contains(&world_after(30_000)), "{}", world_after(30_000));
}

#[test]
fn a_light_caller_does_not_wait_behind_a_heavy_one() {
    let mut light = Program::eager("ui", 1);
    light.rest = Span::from_secs(1);
    let programs = vec![Program::eager("nightly", 50), light];
    let mut world = World::new(PaceRules::default(), Provider::new(300, MINUTE), programs, Span::from_millis(20));
    world.run(MINUTE.scaled(3, 1));
    // One request takes 40 ms and a rest of a second.
    assert!(world.done[1] >= 150, "{:?}", world.done);
    assert_eq!(world.visible, 0);
}

#[test]
fn others_with_the_same_token_are_counted() {
    let mut world = World::new(PaceRules::default(), Provider::new(300, MINUTE), five(), Span::from_millis(30));
    world.run(Span::from_secs(10));
    for _ in 0..100 {
        _ = world.provider.answer(world.now);
    }
    world.run(Span::from_secs(45));
    assert_eq!((world.provider.refused, world.visible), (0, 0));
    assert!(world.provider.served[0] >= 280, "{:?}", world.provider.served);
}

#[test]
fn after_a_429_nobody_sends_until_it_is_over_and_then_one_goes_first() {
    let mut pacer = Pacer::new(PaceRules::default());
    let (now, late) = (Boot::from_secs(100), Boot::from_secs(200));
    let (a, b) = (CallerKey::Named("a".into()), CallerKey::User(Some(7)));
    let Arrival::Admit(pass) = pacer.handle_arrival(&a, late, now) else { panic!("nothing is known yet") };
    let heard = Heard { is_429: true, retry_after: Some(Span::from_secs(7)), sample: None };
    assert_eq!(pacer.handle_answer(pass, heard, now), Aftermath::Again);
    let Arrival::Wait(first) = pacer.handle_return(&a, late, now) else { panic!("it waits again") };
    let Arrival::Wait(second) = pacer.handle_arrival(&b, late, now) else { panic!("all wait") };
    let over = now + Span::from_secs(7);
    assert_eq!(pacer.timeout(now), Some(over));
    assert_eq!(pacer.poll(over - Span::from_nanos(1)), None);
    let Some(Release::Admit(ticket, pass)) = pacer.poll(over) else { panic!("one goes first") };
    assert_eq!((ticket, pacer.poll(over)), (first, None));
    _ = pacer.handle_answer(pass, Heard::default(), over);
    let Some(Release::Admit(ticket, pass)) = pacer.poll(over) else { panic!("the others follow") };
    assert_eq!(ticket, second);
    _ = pacer.handle_answer(pass, Heard::default(), over);
    assert!(pacer.is_quiet());
}

#[test]
fn a_429_about_something_else_holds_only_its_own_request() {
    let mut pacer = Pacer::new(PaceRules::default());
    let (now, late) = (Boot::from_secs(100), Boot::from_secs(200));
    let a = CallerKey::Named("a".into());
    let Arrival::Admit(pass) = pacer.handle_arrival(&a, late, now) else { panic!("nothing is known yet") };
    let sample = RateSample { count: 12, allowed: 300, reset: Span::from_secs(30) };
    let heard = Heard { is_429: true, retry_after: Some(Span::from_secs(7)), sample: Some(sample) };
    assert_eq!(pacer.handle_answer(pass, heard, now), Aftermath::AgainAt(now + Span::from_secs(7)));
    assert!(matches!(pacer.handle_arrival(&a, late, now), Arrival::Admit(_)));
}

#[test]
fn a_wait_that_cannot_end_in_time_is_refused_at_once_with_the_time_left() {
    let mut pacer = Pacer::new(PaceRules::default());
    let now = Boot::from_secs(100);
    let a = CallerKey::Named("a".into());
    let Arrival::Admit(pass) = pacer.handle_arrival(&a, now, now) else { panic!("nothing is known yet") };
    _ = pacer.handle_answer(pass, Heard { is_429: true, retry_after: Some(MINUTE), sample: None }, now);
    let refused = Refused { why: WhyRefused::Limited, retry_after: MINUTE };
    assert_eq!(pacer.handle_arrival(&a, now + Span::from_secs(59), now), Arrival::Refuse(refused));
    assert!(matches!(pacer.handle_arrival(&a, now + MINUTE, now), Arrival::Wait(_)));
}

#[test]
fn those_who_do_not_wait_get_their_429_at_once_and_the_provider_sends_none() {
    let rules = PaceRules { when_limited: WhenLimited::Answer, ..PaceRules::default() };
    let mut world = World::new(rules, Provider::new(60, Span::from_secs(10)), five(), Span::from_millis(10));
    world.run(Span::from_secs(60));
    assert!(world.visible > 0);
    assert_eq!((world.provider.refused, world.longest_wait), (0, Span::ZERO));
    assert!(world.provider.served.iter().sum::<u32>() >= 300, "{:?}", world.provider.served);
}

#[test]
fn the_queue_is_bounded_in_total_and_for_each_caller() {
    let rules = PaceRules { queue: 3, queue_per_caller: 2, ..PaceRules::default() };
    let mut pacer = Pacer::new(rules);
    let (now, late) = (Boot::from_secs(100), Boot::from_secs(200));
    let [a, b] = ["a", "b"].map(|name| CallerKey::Named(name.into()));
    let Arrival::Admit(pass) = pacer.handle_arrival(&a, late, now) else { panic!("nothing is known yet") };
    _ = pacer.handle_answer(pass, Heard { is_429: true, retry_after: Some(MINUTE), sample: None }, now);
    let tickets: Vec<_> = [&a, &a, &a, &b, &b]
        .map(|caller| match pacer.handle_arrival(caller, late, now) {
            Arrival::Wait(ticket) => Some(ticket),
            Arrival::Refuse(refused) => {
                assert_eq!(refused.why, WhyRefused::QueueFull);
                None
            }
            Arrival::Admit(_) => panic!("nobody is sent during a 429"),
        })
        .to_vec();
    assert_eq!(tickets.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true, false]);
    // Who goes away makes room.
    pacer.handle_cancel(tickets[0].unwrap());
    assert!(matches!(pacer.handle_arrival(&a, late, now), Arrival::Wait(_)));
}

#[test]
fn an_endless_row_of_new_callers_does_not_keep_an_old_one_waiting() {
    let mut pacer = Pacer::new(PaceRules::default());
    let (now, late) = (Boot::from_secs(100), Boot::from_secs(900));
    let old = CallerKey::Named("old".into());
    let Arrival::Admit(pass) = pacer.handle_arrival(&old, late, now) else { panic!("nothing is known yet") };
    let sample = RateSample { count: 200, allowed: 300, reset: MINUTE };
    _ = pacer.handle_answer(pass, Heard { sample: Some(sample), ..Heard::default() }, now);
    let mut count = 200;
    let mut answer = |pacer: &mut Pacer, pass, at: Boot| {
        count += 1;
        let reset = Span::from_secs(((now + MINUTE) - at).as_secs());
        let sample = Some(RateSample { count, allowed: 300, reset });
        _ = pacer.handle_answer(pass, Heard { sample, ..Heard::default() }, at);
    };
    let mut at = now;
    let mut ticket = None;
    for number in 0..150 {
        at = at + Span::from_millis(300);
        if ticket.is_none() {
            match pacer.handle_arrival(&old, late, at) {
                Arrival::Wait(mine) => ticket = Some((mine, number)),
                Arrival::Admit(pass) => answer(&mut pacer, pass, at),
                Arrival::Refuse(refused) => panic!("{refused}"),
            }
        }
        for n in 0..2 {
            let new = CallerKey::User(Some(number * 2 + n));
            if let Arrival::Admit(pass) = pacer.handle_arrival(&new, late, at) {
                answer(&mut pacer, pass, at);
            }
        }
        while let Some(release) = pacer.poll(at) {
            let Release::Admit(released, pass) = release else { panic!("nobody's time is over") };
            answer(&mut pacer, pass, at);
            if let Some((mine, since)) = ticket
                && released == mine
            {
                assert!(number - since < 20, "waited for {} rounds", number - since);
                return;
            }
        }
    }
    panic!("never served");
}

#[test]
fn a_limit_that_is_no_longer_named_is_forgotten() {
    let mut pacer = Pacer::new(PaceRules::default());
    let (now, late) = (Boot::from_secs(100), Boot::from_secs(900));
    let a = CallerKey::Named("a".into());
    for n in 0..100 {
        let Arrival::Admit(pass) = pacer.handle_arrival(&a, late, now) else { panic!("{n} fit into the burst") };
        let sample = (n == 0).then_some(RateSample { count: 1, allowed: 3_000, reset: MINUTE });
        _ = pacer.handle_answer(pass, Heard { sample, ..Heard::default() }, now);
        assert_eq!(pacer.is_quiet(), n > 64, "{n}");
    }
}

#[test]
fn a_fixed_limit_needs_no_word_of_the_provider() {
    let fixed = Some(RateLimit { allowed: 100, window: Span::from_secs(10) });
    let mut provider = Provider::new(100, Span::from_secs(10));
    (provider.has_fields, provider.waits_for_first) = (false, true);
    let rules = PaceRules { fixed, ..PaceRules::default() };
    let mut world = World::new(rules, provider, five(), Span::from_millis(10));
    world.run(MINUTE);
    assert_eq!((world.provider.refused, world.visible), (0, 0));
    assert!(world.done.iter().sum::<u32>() >= 540, "{:?}", world.done);
}

#[test]
fn a_request_that_is_not_sent_gives_its_place_back() {
    let fixed = Some(RateLimit { allowed: 4, window: MINUTE });
    let mut pacer = Pacer::new(PaceRules { fixed, ..PaceRules::default() });
    let now = Boot::from_secs(100);
    let a = CallerKey::Named("a".into());
    for _ in 0..50 {
        let Arrival::Admit(pass) = pacer.handle_arrival(&a, now, now) else { panic!("one of three fits") };
        pacer.handle_unsent(pass);
    }
    assert_eq!(pacer.status(now).used, Some(0));
}

#[test]
fn short_windows_are_used_as_well_however_their_seconds_are_rounded() {
    for rounds_up in [true, false] {
        let mut provider = Provider::new(120, Span::from_secs(2));
        provider.rounds_up = rounds_up;
        let mut world = World::new(PaceRules::default(), provider, five(), Span::from_millis(3));
        world.run(Span::from_secs(20));
        assert_eq!((world.provider.refused, world.visible), (0, 0));
        let served = &world.provider.served;
        let later = &served[3..served.len() - 1];
        let mean = f64::from(later.iter().sum::<u32>()) / later.len() as f64;
        assert!(mean >= 110.0, "{rounds_up} {served:?}");
    }
}
