"""The lock of a package of libraries, and the block of a script that asks for them."""
