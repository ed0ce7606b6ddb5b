// Package oci holds the words of images: digests, references, platforms, manifests,
// indexes and image documents, in the shapes of the OCI image specification and of
// Docker, with the rules that say which of them are well-formed.
//
// It moves no bytes and keeps nothing: fetching belongs to registries' clients, keeping
// to the stores. Nothing here costs anything at start-up: there is no regular expression
// and no table to fill.
package oci
