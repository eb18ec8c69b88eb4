//! A disk in memory that loses, tears and refuses what it is asked to.
