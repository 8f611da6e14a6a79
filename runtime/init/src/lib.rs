//! The no_std half of the runtime: system calls, the start record, the stages of a container's start.
#![no_std]
