//! Reading typed headers out of a frame, in the kernel and out of it.

/// Types made of integers in network byte order, valid for any bytes, without padding and with
/// an alignment of two at most (frames begin at even addresses, IP headers often at odd words).
///
/// # Safety
/// The implementor upholds the sentence above.
pub unsafe trait Plain: Copy {}

// SAFETY: an integer.
unsafe impl Plain for u8 {}
// SAFETY: an integer, aligned to two.
unsafe impl Plain for u16 {}
// SAFETY: any bytes are a valid array of bytes, aligned to one.
unsafe impl<const N: usize> Plain for [u8; N] {}

/// A frame that can be read at any offset.
pub trait Reader {
    /// The bytes at `offset` as a header, or `None` where the frame ends before.
    fn load<T: Plain>(&self, offset: usize) -> Option<T>;

    /// Whether the byte at `offset` is there and has a value. Where an optional
    /// byte is compared, the compiler may mix the byte with its tag, which the verifier cannot
    /// follow.
    fn byte_is(&self, offset: usize, value: u8) -> bool;

    /// Bytes in the frame, the link header included.
    fn frame_len(&self) -> u32;
}

impl Reader for [u8] {
    fn load<T: Plain>(&self, offset: usize) -> Option<T> {
        let bytes = self.get(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: `bytes` has the size of T, T is valid for any bytes, and the read is unaligned.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }

    fn byte_is(&self, offset: usize, value: u8) -> bool {
        self.get(offset) == Some(&value)
    }

    fn frame_len(&self) -> u32 {
        self.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_read_to_its_very_end_and_no_further() {
        let frame: &[u8] = &[1, 2, 3, 4];
        assert_eq!(frame.load::<[u8; 2]>(2), Some([3, 4]));
        assert_eq!(frame.load::<[u8; 2]>(3), None);
        assert_eq!(frame.load::<u8>(usize::MAX), None);
    }
}
