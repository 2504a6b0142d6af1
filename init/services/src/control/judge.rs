//! Whether a request is an operator's, meant for this machine, this session, and now. Pure.

use coracle_format::control::{Challenge, Refusal, Request, Signed, signed_bytes};
use ed25519_dalek::{Signature, VerifyingKey};

/// The judge of one session.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    keys: &'a [[u8; 32]],
    challenge: Challenge,
    last: u64,
}

impl<'a> Judge<'a> {
    pub(super) const fn new(keys: &'a [[u8; 32]], challenge: Challenge) -> Self {
        Self { keys, challenge, last: 0 }
    }

    pub(super) const fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// Whether a request was accepted already.
    pub(super) const fn is_used(&self) -> bool {
        self.last > 0
    }

    /// The request, if everything is right with it. It is parsed only after its signature was checked, and its number is
    /// used up.
    pub(super) fn accept(&mut self, signed: &Signed) -> Result<Request, Refusal> {
        if !self.keys.contains(&signed.key) {
            return Err(Refusal::Key);
        }
        let key = VerifyingKey::from_bytes(&signed.key).map_err(|_not_a_point| Refusal::Key)?;
        let bytes = signed_bytes(&self.challenge, signed.sequence, &signed.request);
        key.verify_strict(&bytes, &Signature::from_bytes(&signed.signature))
            .map_err(|_no_reason_given| Refusal::Signature)?;
        if Some(signed.sequence) != self.last.checked_add(1) {
            return Err(Refusal::Sequence);
        }
        self.last = signed.sequence;
        Request::decode(&signed.request).ok_or(Refusal::Request)
    }
}

/// What is told of a refusal.
pub(super) const fn explain(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Key => "the key is none of this machine's operators",
        Refusal::Signature => "the signature does not match the request, the session and this machine",
        Refusal::Sequence => "the request has been made before, or one before it is missing",
        Refusal::Request => "this machine does not know the request",
        Refusal::Session => "there is no session: begin anew",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};

    fn challenge(random: u8) -> Challenge {
        Challenge {
            nonce: [0; 16],
            random: [random; 32],
            machine: [1; 16],
            image: "hello".to_owned(),
            version: "1".to_owned(),
        }
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn signed(key: &SigningKey, challenge: &Challenge, sequence: u64) -> Signed {
        let public = key.verifying_key().to_bytes();
        Signed::new(challenge, sequence, &Request::Reboot, public, |bytes| key.sign(bytes).to_bytes())
    }

    #[test]
    fn an_operators_request_is_accepted_once() {
        let keys = [key(1).verifying_key().to_bytes()];
        let mut judge = Judge::new(&keys, challenge(1));
        let first = signed(&key(1), &challenge(1), 1);
        assert_eq!(judge.accept(&first), Ok(Request::Reboot));
        assert_eq!(judge.accept(&first), Err(Refusal::Sequence));
        assert_eq!(judge.accept(&signed(&key(1), &challenge(1), 3)), Err(Refusal::Sequence));
        assert_eq!(judge.accept(&signed(&key(1), &challenge(1), 2)), Ok(Request::Reboot));
    }

    #[test]
    fn what_was_signed_for_another_session_or_machine_is_refused() {
        let keys = [key(1).verifying_key().to_bytes()];
        let mut judge = Judge::new(&keys, challenge(1));
        let elsewhere = Challenge { machine: [2; 16], ..challenge(1) };
        for other in [challenge(2), elsewhere] {
            assert_eq!(judge.accept(&signed(&key(1), &other, 1)), Err(Refusal::Signature));
        }
        assert!(!judge.is_used());
    }

    #[test]
    fn a_key_that_is_not_listed_or_not_the_signers_is_refused() {
        let keys = [key(1).verifying_key().to_bytes()];
        let mut judge = Judge::new(&keys, challenge(1));
        assert_eq!(judge.accept(&signed(&key(2), &challenge(1), 1)), Err(Refusal::Key));
        let mut posed = signed(&key(2), &challenge(1), 1);
        posed.key = keys[0];
        assert_eq!(judge.accept(&posed), Err(Refusal::Signature));
    }

    #[test]
    fn a_changed_byte_anywhere_is_refused() {
        let keys = [key(1).verifying_key().to_bytes()];
        let mut judge = Judge::new(&keys, challenge(1));
        let good = signed(&key(1), &challenge(1), 1);
        for at in 0..64 {
            let mut bad = good.clone();
            bad.signature[at] ^= 1;
            assert_eq!(judge.accept(&bad), Err(Refusal::Signature), "byte {at}");
        }
        let mut bad = good.clone();
        bad.request[0] ^= 3;
        assert_eq!(judge.accept(&bad), Err(Refusal::Signature));
        bad = good;
        bad.sequence = 2;
        assert_eq!(judge.accept(&bad), Err(Refusal::Signature));
    }

    #[test]
    fn a_weak_key_in_the_list_opens_nothing() {
        // The neutral element: with it the lax rule accepts one signature for many messages.
        let mut weak = [0; 32];
        weak[0] = 1;
        let keys = [weak];
        let mut judge = Judge::new(&keys, challenge(1));
        let mut signature = [0; 64];
        signature[0] = 1;
        let forged = Signed { key: weak, sequence: 1, signature, request: Request::Reboot.encode() };
        assert_eq!(judge.accept(&forged), Err(Refusal::Signature));
    }
}
