//! Bodies of the fuzz targets: bytes into the decoder, and sequences of commands into a controller over a pure shard.
