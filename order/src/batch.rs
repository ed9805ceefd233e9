//! Where the coefficients of a batch equation come from.
//!
//! A batch is one equation over many signatures, each times a random coefficient. Whoever knows the coefficients can make
//! false signatures whose errors cancel, and the equation holds. So they follow from two things at once: a secret that this
//! process drew from the system, and a hash of the whole batch. Knowing one of them is of no use; and no two batches
//! share a coefficient. (The look that [`crate::known_keys`] takes first has the library's own, which follow from the batch
//! alone.)

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// Bytes that a [`BatchSecret`] takes from the system in one draw.
const DRAW_BYTES: usize = 32;

// One draw alone holds as much as the secret does: the second one only shows that the source does not repeat itself.
const _: () = assert!(DRAW_BYTES >= size_of::<BatchSecret>());
const _: () = assert!(size_of::<BatchSecret>() == blake3::KEY_LEN);

/// The secret part of all batch coefficients of a process. It changes no verdict on an honest batch.
#[derive(Clone)]
pub struct BatchSecret([u8; 32]);

impl std::fmt::Debug for BatchSecret {
    /// Shows nothing of the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BatchSecret")
    }
}

impl BatchSecret {
    /// Draws a secret from the system's entropy: `fill` is `getrandom::fill`, which this crate may not call itself.
    ///
    /// # Errors
    /// What `fill` returns.
    ///
    /// # Panics
    /// If `fill` gives the same bytes twice: it is a constant and no source of entropy.
    pub fn draw<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        // A source that always gives the same bytes would show in nothing else, and everybody would know the
        // coefficients.
        let mut drawn = [[0; DRAW_BYTES]; 2];
        for bytes in &mut drawn {
            fill(bytes)?;
        }
        assert_ne!(drawn[0], drawn[1], "the system's entropy never repeats itself");
        Ok(Self(blake3::derive_key("bitcraps batch seed 1", drawn.as_flattened())))
    }

    /// The coefficients of one batch. `absorb` hashes all that the equation is over, in fields of fixed length; `kind` keeps
    /// equations of different schemes apart.
    pub(crate) fn coefficients(&self, kind: &[u8; 16], absorb: impl FnOnce(&mut blake3::Hasher)) -> ChaCha20Rng {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(kind);
        absorb(&mut hasher);
        assert!(hasher.count() > kind.len() as u64, "coefficients depend on the batch");
        ChaCha20Rng::from_seed(*hasher.finalize().as_bytes())
    }

    /// A secret that a test knows.
    #[cfg(test)]
    pub(crate) fn known(secret: [u8; 32]) -> Self {
        Self(secret)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use rand_chacha::rand_core::Rng;

    use super::*;

    fn first(secret: &BatchSecret, batch: &[u8]) -> u64 {
        secret.coefficients(b"test equation  1", |hasher| _ = hasher.update(batch)).next_u64()
    }

    #[test]
    fn coefficients_follow_from_the_seed_and_from_the_whole_batch() {
        let (secret, other) = (BatchSecret::known([1; 32]), BatchSecret::known([2; 32]));
        assert_eq!(first(&secret, b"batch"), first(&secret.clone(), b"batch"));
        assert_ne!(first(&secret, b"batch"), first(&other, b"batch"));
        assert_ne!(first(&secret, b"batch"), first(&secret, b"batcH"));
        let of_another_kind = secret.coefficients(b"test equation  2", |hasher| _ = hasher.update(b"batch")).next_u64();
        assert_ne!(first(&secret, b"batch"), of_another_kind);
    }

    #[test]
    fn a_seed_is_another_in_every_draw() {
        let mut count = 0u8;
        let mut fill = |bytes: &mut [u8]| {
            count += 1;
            bytes.fill(count);
            Ok::<(), Infallible>(())
        };
        let (Ok(one), Ok(other)) = (BatchSecret::draw(&mut fill), BatchSecret::draw(&mut fill));
        assert_ne!(one.0, other.0);
        assert_eq!(BatchSecret::draw(|_| Err("no entropy")).map(|_| ()), Err("no entropy"));
    }

    #[test]
    fn a_constant_is_no_seed() {
        fn fill_sevens(bytes: &mut [u8]) -> Result<(), Infallible> {
            bytes.fill(7);
            Ok(())
        }
        let drawn = std::panic::catch_unwind(|| BatchSecret::draw(fill_sevens));
        assert!(drawn.is_err());
    }
}
