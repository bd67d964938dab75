//! Empty: gives cargo a library target, so that lte-userspace can depend on this package and be rebuilt with it.
#![no_std]
