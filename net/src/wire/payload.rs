//! What messages carry: nothing, one body of fixed layout, or a list of them.

use bytemuck::{Pod, pod_read_unaligned};
use engine::bytes::DecodeError;

use super::frame::{Bounds, Head, frame};

/// All that one message carries.
pub(super) trait Payload: Sized {
    /// The lengths that its body may have.
    const BOUNDS: Bounds;

    /// Appends one message, or as many as a list needs.
    fn encode(&self, head: Head, out: &mut Vec<u8>);

    /// Reads a body whose length is inside the bounds.
    fn decode(body: &[u8]) -> Result<Self, DecodeError>;

    /// A value for tests, in which no field is zero that could be otherwise.
    #[cfg(test)]
    fn sample() -> Self;
}

/// A body of fixed layout, of which a message carries one or a list.
pub(super) trait Body: Sized {
    /// The bytes as they are sent.
    type Bytes: Pod;
    /// How many of them one message carries at most, as a list.
    const LIST_MAX: usize = 1;

    fn to_bytes(&self) -> Self::Bytes;

    fn of_bytes(bytes: &Self::Bytes) -> Result<Self, DecodeError>;

    /// Values for tests, in which no field is zero that could be otherwise.
    #[cfg(test)]
    fn samples() -> Vec<Self>;
}

impl Payload for () {
    const BOUNDS: Bounds = Bounds { least: 0, most: 0, unit: 1 };

    fn encode(&self, head: Head, out: &mut Vec<u8>) {
        frame(head, out, |_| {});
    }

    fn decode(_body: &[u8]) -> Result<Self, DecodeError> {
        Ok(())
    }

    #[cfg(test)]
    fn sample() -> Self {}
}

impl<T: Body> Payload for T {
    const BOUNDS: Bounds = Bounds { least: size_of::<T::Bytes>(), most: size_of::<T::Bytes>(), unit: 1 };

    fn encode(&self, head: Head, out: &mut Vec<u8>) {
        encode_list(std::slice::from_ref(self), head, out);
    }

    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        Self::of_bytes(&pod_read_unaligned(body))
    }

    #[cfg(test)]
    fn sample() -> Self {
        Self::samples().swap_remove(0)
    }
}

impl<T: Body> Payload for Vec<T> {
    const BOUNDS: Bounds = {
        let unit = size_of::<T::Bytes>();
        Bounds { least: unit, most: unit * T::LIST_MAX, unit }
    };

    fn encode(&self, head: Head, out: &mut Vec<u8>) {
        encode_list(self, head, out);
    }

    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        body.chunks_exact(size_of::<T::Bytes>()).map(|bytes| T::of_bytes(&pod_read_unaligned(bytes))).collect()
    }

    #[cfg(test)]
    fn sample() -> Self {
        T::samples()
    }
}

/// Appends as many messages as a list needs.
pub(super) fn encode_list<T: Body>(list: &[T], head: Head, out: &mut Vec<u8>) {
    // An empty list is no message: there is none without an item.
    for some in list.chunks(T::LIST_MAX) {
        frame(head, out, |out| {
            some.iter().for_each(|value| out.extend_from_slice(bytemuck::bytes_of(&value.to_bytes())));
        });
    }
}
