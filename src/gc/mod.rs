//! Finding what a heap's roots reach, and giving back what they do not.
#![allow(unsafe_code)]
