//! Whole files, valid and not, with the exact problems.
