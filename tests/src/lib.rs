//! The lab in network namespaces.
