//! Binary COPY in and out.
