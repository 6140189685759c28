//! Known addresses, one form of signature, and secrets that stay secret.

use proptest::prelude::*;

use super::*;

/// The order of secp256k1.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba,
    0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];

fn key(seed: u8) -> AccountKey {
    AccountKey::from_secret(&[seed; 32]).expect("a small number is a key")
}

/// `ORDER - s`, big-endian: the other half.
fn negate(s: &[u8]) -> Vec<u8> {
    let (mut out, mut borrow) = (vec![0; 32], 0);
    for i in (0..32).rev() {
        let difference = i16::from(ORDER[i]) - i16::from(s[i]) - borrow;
        borrow = i16::from(difference < 0);
        out[i] = u8::try_from(difference.rem_euclid(256)).expect("below 256");
    }
    out
}

#[test]
fn a_known_address() {
    // Published with EIP-55 and many wallets: the secret 1.
    let mut secret = [0; 32];
    secret[31] = 1;
    let one = AccountKey::from_secret(&secret).expect("one is a key");
    assert_eq!(one.address().to_string(), "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf");
}

#[test]
fn zero_and_the_order_are_no_secrets() {
    assert_eq!(AccountKey::from_secret(&[0; 32]).map(|_| ()), Err(SecretError));
    assert_eq!(AccountKey::from_secret(&ORDER).map(|_| ()), Err(SecretError));
    assert_eq!(AccountKey::from_secret(&[0xff; 32]).map(|_| ()), Err(SecretError));
}

#[test]
fn a_secret_is_not_printed() {
    let shown = format!("{:?}", key(0xab));
    assert!(!shown.contains("abab") && shown.contains(&key(0xab).address().to_string()), "{shown}");
}

/// The other form of a good signature, `(r, n - s)` with the other `v`, belongs to the same key, and is
/// refused.
#[test]
fn the_mirrored_signature_is_refused() {
    let (key, digest) = (key(1), [7; 32]);
    let good = key.sign(&digest);
    let mut mirrored = good;
    mirrored.0[32..64].copy_from_slice(&negate(&good.0[32..64]));
    mirrored.0[64] = 27 + 28 - good.0[64];
    assert_eq!(recover(&digest, &mirrored), Err(SignatureError::HighS));
    let numbers = Signature::from_slice(&mirrored.0[..64]).expect("in range");
    let id = RecoveryId::new(mirrored.0[64] == 28, false);
    let also = VerifyingKey::recover_from_prehash(&digest, &numbers, id).expect("it is a signature");
    assert_eq!(address_of(&also), key.address(), "the liar's signature is of the same key");
}

#[test]
fn only_two_recovery_ids() {
    let (key, digest) = (key(1), [7; 32]);
    for v in (0..=255).filter(|v| ![27, 28].contains(v)) {
        let mut signature = key.sign(&digest);
        signature.0[64] = v;
        assert_eq!(recover(&digest, &signature), Err(SignatureError::RecoveryId { got: v }));
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    let (key, digest) = (key(1), [7; 32]);
    for (at, number) in
        [(0, [0; 32]), (32, [0; 32]), (0, ORDER), (32, ORDER), (0, [0xff; 32]), (32, [0xff; 32])]
    {
        let mut signature = key.sign(&digest);
        signature.0[at..at + 32].copy_from_slice(&number);
        assert_eq!(recover(&digest, &signature), Err(SignatureError::NoKey), "at {at}");
    }
}

#[test]
fn another_signer_is_named() {
    let digest = [7; 32];
    let got = verify(key(2).address(), &digest, &key(1).sign(&digest));
    assert_eq!(got, Err(SignatureError::Signer { expected: key(2).address(), got: key(1).address() }));
}

proptest! {
    #[test]
    fn what_is_signed_is_recovered(secret in 1u8..255, digest: [u8; 32]) {
        let key = key(secret);
        let signature = key.sign(&digest);
        prop_assert_eq!(recover(&digest, &signature), Ok(key.address()));
        prop_assert_eq!(key.sign(&digest), signature);
    }

    /// No flipped bit leaves a signature good, and nothing panics.
    #[test]
    fn no_bit_can_be_flipped(digest: [u8; 32], bit in 0usize..65 * 8) {
        let key = key(3);
        let mut forged = key.sign(&digest);
        forged.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify(key.address(), &digest, &forged).is_err());
    }

    #[test]
    fn garbage_does_not_panic(digest: [u8; 32], bytes in proptest::collection::vec(any::<u8>(), 65)) {
        let signature = AccountSignature(bytes.try_into().expect("65 bytes"));
        let _ = recover(&digest, &signature);
    }
}
