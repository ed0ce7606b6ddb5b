// Package blob keeps the hub's blobs: bytes by their digest, and uploads that may become
// some. It knows nothing of repositories, and does not compute digests: who writes does.
//
// A local folder is an OCI image layout in the making, which can be read without us:
// blobs/sha256/<hex>, and uploads/<id> for what is not whole yet. An object store has
// objects of the same names.
package blob

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"hash"
	"io"
	"os"
	"time"

	"lighter/oci"
)

// ErrNotFound says that there is no such blob or upload.
var ErrNotFound = errors.New("not found")

// Hashes are the algorithms of the digests that name blobs.
var Hashes = map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New}

// Store keeps blobs. Its methods may be called at once; calls for one upload must not.
// Digests must have been parsed, ids of uploads come from NewUpload.
type Store interface {
	// Append adds what r gives to an upload, of which at bytes are known to be kept; bytes
	// behind those, of an append that was interrupted, are forgotten. n bytes of r are kept
	// even when there is an error.
	Append(ctx context.Context, upload string, at int64, r io.Reader) (n int64, err error)
	// Commit makes an upload of so many bytes the blob d. A blob that is there already stays.
	Commit(ctx context.Context, upload string, d oci.Digest, size int64) error
	// Abort forgets an upload; one that there is not is no error.
	Abort(ctx context.Context, upload string) error
	// Settle returns when the blobs would survive a power cut.
	Settle(ctx context.Context, list ...oci.Digest) error
	Open(ctx context.Context, d oci.Digest) (io.ReadSeekCloser, error)
	Stat(ctx context.Context, d oci.Digest) (size int64, err error)
	// Delete removes a blob; one that there is not is no error.
	Delete(ctx context.Context, d oci.Digest) error
	// Walk visits every blob until visit gives an error.
	Walk(ctx context.Context, visit func(d oci.Digest, size int64) error) error
}

// Shower is a Store whose uploads can be read while they are written.
type Shower interface {
	// Show gives a file that holds what the one Append to a new upload has written so far,
	// also when the upload has become a blob or is forgotten. The caller closes it, after
	// that Append.
	Show(upload string) (*os.File, error)
}

// Indexer is a Store that can be read without us, as an OCI image layout.
type Indexer interface {
	// Index writes down which manifests have which names.
	Index(named oci.Index) error
}

// Signer is a Store whose blobs can be fetched elsewhere.
type Signer interface {
	// URL gives an address where whoever has it may read the blob for a while.
	URL(ctx context.Context, d oci.Digest, valid time.Duration) (string, error)
}
