use super::super::lease::tests::reply;
use super::super::message::tests::MAC;
use super::*;
use proptest::prelude::*;

fn client() -> Client {
    Client::new(MAC, "hello".to_owned(), 42)
}

fn answer(client: &Client, kind: Kind) -> Reply {
    Reply { kind, transaction: client.transaction, ..reply() }
}

/// A client that has just got its lease, asked for at `now`.
fn bound(now: Millis) -> Client {
    let mut client = client();
    client.start(now);
    client.receive(now, &answer(&client, Kind::Offer));
    let actions = client.receive(now, &answer(&client, Kind::Ack));
    assert!(matches!(actions[..], [Action::Bind(_)]));
    client
}

#[test]
fn an_offer_is_requested_and_the_acknowledgement_bound_without_a_pause() {
    let mut client = client();
    assert!(matches!(client.start(1_000)[..], [Action::Broadcast(_)]));
    let actions = client.receive(1_010, &answer(&client, Kind::Offer));
    assert!(matches!(actions[..], [Action::Broadcast(_)]));
    let actions = client.receive(1_020, &answer(&client, Kind::Ack));
    let [Action::Bind(held)] = &actions[..] else {
        panic!("an acknowledgement binds: {actions:?}");
    };
    // The term runs from the request, not from its answer.
    assert_eq!(held.end, Some(1_010 + 86_400_000));
    assert_eq!(client.listens(), Listen::Address);
}

#[test]
fn without_an_answer_the_pauses_double_to_a_limit() {
    let mut client = client();
    client.start(0);
    let mut last = 0;
    for sent in 1..12_u32 {
        let next = client.deadline().unwrap();
        let nominal = (1_000 << (sent - 1)).min(LONGEST_PAUSE);
        let pause = next - last;
        assert!(pause >= nominal * 3 / 4 && pause <= nominal * 5 / 4, "{pause} after {sent}");
        assert!(!client.wake(next).is_empty());
        last = next;
    }
}

#[test]
fn nothing_is_sent_before_it_is_due() {
    let mut client = client();
    client.start(0);
    let before = client.deadline().unwrap() - 1;
    assert_eq!(client.wake(before), []);
}

#[test]
fn answers_to_others_are_ignored() {
    let mut client = client();
    client.start(0);
    let mut other = answer(&client, Kind::Offer);
    other.transaction ^= 1;
    assert_eq!(client.receive(1, &other), []);
    let mut other = answer(&client, Kind::Offer);
    other.mac[5] ^= 1;
    assert_eq!(client.receive(1, &other), []);
    assert_eq!(client.receive(1, &answer(&client, Kind::Ack)), []);
}

#[test]
fn an_acknowledgement_of_another_server_or_address_is_ignored() {
    let mut client = client();
    client.start(0);
    client.receive(1, &answer(&client, Kind::Offer));
    let mut other = answer(&client, Kind::Ack);
    other.server = Some(Ipv4Addr::new(10, 0, 2, 66));
    assert_eq!(client.receive(2, &other), []);
    let mut other = answer(&client, Kind::Ack);
    other.address = Ipv4Addr::new(10, 0, 2, 66);
    assert_eq!(client.receive(2, &other), []);
}

#[test]
fn the_lease_is_renewed_with_its_server_then_with_any_then_given_up() {
    let mut client = bound(0);
    let renew = client.deadline().unwrap();
    assert!(renew <= 43_200_000 && renew > 40_000_000);
    let server = Ipv4Addr::new(10, 0, 2, 2);
    assert!(matches!(client.wake(renew)[..], [Action::Send(to, _)] if to == server));
    let mut broadcasts = 0;
    loop {
        let next = client.deadline().unwrap();
        let actions = client.wake(next);
        match &actions[..] {
            [Action::Send(to, _)] if *to == server => assert!(next < 75_600_000),
            [Action::Send(Ipv4Addr::BROADCAST, _)] => broadcasts += 1,
            [Action::Unbind, Action::Note(_), Action::Broadcast(_)] => {
                assert_eq!(next, 86_400_000);
                break;
            }
            other => panic!("{other:?} at {next}"),
        }
    }
    assert!(broadcasts > 1);
}

#[test]
fn a_renewal_gives_a_later_end() {
    let mut client = bound(0);
    let renew = client.deadline().unwrap();
    client.wake(renew);
    let actions = client.receive(renew + 5, &answer(&client, Kind::Ack));
    let [Action::Bind(held)] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(held.end, Some(renew + 86_400_000));
}

#[test]
fn a_denied_renewal_withdraws_the_address_and_starts_over_after_a_pause() {
    let mut client = bound(0);
    let renew = client.deadline().unwrap();
    client.wake(renew);
    let actions = client.receive(renew, &answer(&client, Kind::Nak));
    assert!(matches!(actions[..], [Action::Unbind, Action::Note(_)]));
    assert!(client.deadline().unwrap() >= renew + FIRST_PAUSE * 3 / 4);
}

#[test]
fn a_bound_client_ignores_a_denial_out_of_the_blue() {
    let mut client = bound(0);
    assert_eq!(client.receive(5, &answer(&client, Kind::Nak)), []);
}

#[test]
fn repeated_denials_pause_longer_and_longer() {
    let mut client = client();
    client.start(0);
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        client.receive(now, &answer(&client, Kind::Offer));
        client.receive(now, &answer(&client, Kind::Nak));
        let next = client.deadline().unwrap();
        pauses.push(next - now);
        now = next;
        client.wake(now);
    }
    assert!(pauses[0] < 2_000 && pauses[7] > 40_000, "{pauses:?}");
}

#[test]
fn after_a_lost_carrier_the_same_address_is_asked_for() {
    let mut client = bound(0);
    client.stop();
    assert_eq!(client.deadline(), None);
    let actions = client.start(10_000);
    let [Action::Broadcast(message)] = &actions[..] else {
        panic!("{actions:?}");
    };
    let requested = [50, 4, 10, 0, 2, 15];
    assert!(message.windows(6).any(|window| window == requested));
    let actions = client.receive(10_005, &answer(&client, Kind::Ack));
    assert!(matches!(actions[..], [Action::Bind(_)]));
}

#[test]
fn a_lease_that_ran_out_without_a_carrier_is_not_asked_for() {
    let mut client = bound(0);
    client.stop();
    client.start(86_400_000);
    assert!(matches!(client.state, State::Selecting { .. }));
}

#[test]
fn an_unanswered_request_for_the_old_address_ends_in_a_search_for_a_new_one() {
    let mut client = bound(0);
    client.stop();
    client.start(1_000);
    for _ in 0..REQUESTS - 1 {
        let next = client.deadline().unwrap();
        assert!(matches!(client.wake(next)[..], [Action::Broadcast(_)]));
    }
    let next = client.deadline().unwrap();
    let actions = client.wake(next);
    assert!(matches!(actions[..], [Action::Unbind, Action::Broadcast(_)]));
}

#[test]
fn an_acknowledgement_later_than_its_lease_is_long_is_ignored() {
    let mut client = client();
    client.start(0);
    client.receive(0, &answer(&client, Kind::Offer));
    let mut late = answer(&client, Kind::Ack);
    late.lease_seconds = Some(30);
    let actions = client.receive(30_000, &late);
    assert!(matches!(actions[..], [Action::Note(_)]));
    assert_eq!(client.listens(), Listen::Frames);
}

#[test]
fn a_lease_without_an_end_needs_no_renewal() {
    let mut client = client();
    client.start(0);
    let mut offer = answer(&client, Kind::Offer);
    offer.lease_seconds = Some(u32::MAX);
    client.receive(0, &offer);
    let mut ack = answer(&client, Kind::Ack);
    ack.lease_seconds = Some(u32::MAX);
    let actions = client.receive(0, &ack);
    let [Action::Bind(held)] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(held.seconds_left(5), u32::MAX);
    assert_eq!(client.deadline(), None);
}

/// What can happen to a client.
#[derive(Clone, Debug)]
enum Happening {
    Wait(u64),
    Deadline,
    Answer(Kind, u32, u32),
    Carrier(bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0_u64..100_000_000).prop_map(Happening::Wait),
        Just(Happening::Deadline),
        (
            prop_oneof![Just(Kind::Offer), Just(Kind::Ack), Just(Kind::Nak)],
            0_u32..3,
            prop_oneof![Just(86_400_u32), Just(30), Just(u32::MAX), any::<u32>()],
        )
            .prop_map(|(kind, host, lease)| Happening::Answer(kind, host, lease)),
        any::<bool>().prop_map(Happening::Carrier),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_no_address_outlives_its_lease_and_a_running_client_has_a_deadline(
        seed: u64,
        happenings in proptest::collection::vec(happening(), 0..60),
    ) {
        let mut client = Client::new(MAC, String::new(), seed);
        let mut now: Millis = 0;
        let mut applied: Option<Held> = None;
        let mut carrier = false;
        for happening in happenings {
            let actions = match happening {
                Happening::Wait(time) => { now += time; client.wake(now) }
                Happening::Deadline => {
                    now = now.max(client.deadline().unwrap_or(now));
                    client.wake(now)
                }
                Happening::Answer(kind, host, lease) => {
                    let mut reply = answer(&client, kind);
                    reply.address = Ipv4Addr::from_bits(reply.address.to_bits() + host);
                    reply.lease_seconds = Some(lease);
                    client.receive(now, &reply)
                }
                Happening::Carrier(true) => { carrier = true; client.start(now) }
                // The caller's part: without a carrier the address goes.
                Happening::Carrier(false) => { carrier = false; client.stop(); vec![Action::Unbind] }
            };
            for action in actions {
                match action {
                    Action::Bind(held) => applied = Some(held),
                    Action::Unbind => applied = None,
                    Action::Broadcast(_) | Action::Send(..) | Action::Note(_) => {}
                }
            }
            let late = client.wake(now);
            prop_assert!(late.is_empty() || matches!(late[0], Action::Unbind | Action::Broadcast(_) | Action::Send(..)));
            if late.contains(&Action::Unbind) {
                applied = None;
            }
            let endless = applied.as_ref().is_some_and(|held| held.end.is_none());
            prop_assert!(!carrier || endless || client.deadline().is_some());
            if let Some(held) = &applied {
                prop_assert!(held.end.is_none_or(|end| client.deadline().is_some_and(|next| next <= end)));
            }
        }
    }
}
