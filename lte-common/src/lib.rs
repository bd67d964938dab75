//! What kernel and userspace must agree on.
#![no_std]
