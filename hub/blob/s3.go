package blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"lighter/oci"
)

// S3 is a Store in a bucket of an S3-compatible object store, which several hubs may
// share: blobs/sha256/<hex>, and uploads/<id>/<offset> for each append to an upload.
//
// Objects are written whole or not at all, so an append goes to a file on this machine
// first: memory stays flat, and what came of one that breaks is kept.
type S3 struct {
	client         *minio.Client
	bucket, prefix string
	spool          string
	shown          sync.Map // *os.File by upload: those that somebody looks at
}

// OpenS3 opens s3://BUCKET/PREFIX?endpoint=HOST:PORT&region=REGION&insecure=1; endpoint is
// Amazon's unless given, insecure means plain HTTP. The keys are those of the environment
// (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), of ~/.aws/credentials, or of the machine's
// role. spool is a folder for what is on its way.
func OpenS3(ctx context.Context, address, spool string) (*S3, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("open the storage: %w", err)
	}
	q := u.Query()
	for k := range q {
		if k != "endpoint" && k != "region" && k != "insecure" {
			return nil, fmt.Errorf("open the storage %s: %q is none of endpoint, region, insecure", address, k)
		}
	}
	if u.Scheme != "s3" || u.Host == "" {
		return nil, fmt.Errorf("open the storage %s: an address is s3://BUCKET/PREFIX?endpoint=HOST", address)
	}
	client, err := minio.New(cmp.Or(q.Get("endpoint"), "s3.amazonaws.com"), &minio.Options{
		Creds:  credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{}}),
		Secure: q.Get("insecure") == "",
		Region: q.Get("region"),
		// Many stores know none of the newer checksums; ours are the digests.
		TrailingHeaders: false,
	})
	if err != nil {
		return nil, fmt.Errorf("open the storage %s: %w", address, err)
	}
	if err := os.MkdirAll(spool, 0o700); err != nil {
		return nil, fmt.Errorf("open the storage: %w", err)
	}
	s := &S3{client: client, bucket: u.Host, prefix: strings.Trim(u.Path, "/"), spool: spool}
	ok, err := client.BucketExists(ctx, s.bucket)
	if err == nil && !ok {
		err = errors.New("there is no such bucket")
	}
	if err != nil {
		return nil, fmt.Errorf("open the storage %s: %w", address, err)
	}
	return s, nil
}

// Close has nothing to wait for.
func (s *S3) Close() error { return nil }

func (s *S3) key(name string) string { return path.Join(s.prefix, name) }

func (s *S3) blob(d oci.Digest) string { return s.key(oci.BlobPath(d)) }

// parts is where the appends to an upload are; their names sort by offset.
func (s *S3) parts(id string) string { return s.key(path.Join(uploadsDir, id)) + "/" }

func (s *S3) part(id string, at int64) string { return fmt.Sprintf("%s%020d", s.parts(id), at) }

// missing turns an error about what is not there into ErrNotFound.
func missing(err error) error {
	if code := minio.ToErrorResponse(err).Code; code == minio.NoSuchKey || code == "NotFound" {
		return ErrNotFound
	}
	return err
}

// Append makes an object of what came, if something did or the upload is new.
func (s *S3) Append(ctx context.Context, id string, at int64, r io.Reader) (n int64, err error) {
	var f *os.File
	if shown, ok := s.shown.LoadAndDelete(id); ok {
		f = shown.(*os.File) // whoever looks at it closes it
	} else {
		if f, err = s.scratch(); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
	}
	buf := buffers.Get().(*[bufferSize]byte)
	n, broken := io.CopyBuffer(onlyWriter{f}, onlyReader{r}, buf[:])
	buffers.Put(buf)
	if n == 0 && (broken != nil || at > 0) {
		return 0, broken
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	// A client that is gone comes back for the rest.
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
	defer cancel()
	_, err = s.client.PutObject(keep, s.bucket, s.part(id, at), f, n, options)
	if err == nil {
		err = s.forget(keep, id, at)
	}
	if err != nil {
		return 0, errors.Join(broken, err)
	}
	return n, broken
}

// Show gives the file that the upload's append goes through.
func (s *S3) Show(id string) (*os.File, error) {
	f, err := s.scratch()
	if err == nil {
		s.shown.Store(id, f)
	}
	return f, err
}

// forget removes what is kept of an upload behind an offset.
func (s *S3) forget(ctx context.Context, id string, after int64) error {
	for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.parts(id)}) {
		if o.Err != nil {
			return o.Err
		}
		if after >= 0 && o.Key <= s.part(id, after) {
			continue
		}
		if err := missing(s.client.RemoveObject(ctx, s.bucket, o.Key, minio.RemoveObjectOptions{})); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

var options = minio.PutObjectOptions{ContentType: "application/octet-stream", DisableContentSha256: true, SendContentMd5: false}

// piece is what counts of one append: its first bytes.
type piece struct {
	key             string
	from, size, has int64
}

// pieces gives the appends that make up an upload of a size, in order.
func (s *S3) pieces(ctx context.Context, id string, size int64) (list []piece, err error) {
	for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.parts(id)}) {
		if o.Err != nil {
			return nil, o.Err
		}
		from, err := strconv.ParseInt(path.Base(o.Key), 10, 64)
		if err != nil || from >= size && from > 0 {
			continue
		}
		if n := len(list); n > 0 {
			list[n-1].size = from - list[n-1].from
		}
		list = append(list, piece{o.Key, from, size - from, o.Size})
	}
	for i, p := range list {
		if p.size > p.has || i == 0 && p.from != 0 {
			return nil, fmt.Errorf("upload %s has not all of its %d bytes: %w", id, size, ErrNotFound)
		}
	}
	if len(list) == 0 {
		return nil, ErrNotFound
	}
	return list, nil
}

// Commit copies an upload of one append within the store; of more, through us.
func (s *S3) Commit(ctx context.Context, id string, d oci.Digest, size int64) error {
	if has, err := s.Stat(ctx, d); err == nil && has == size {
		return s.Abort(ctx, id)
	}
	list, err := s.pieces(ctx, id, size)
	if err != nil {
		return err
	}
	const biggestCopy = 5 << 30 // bytes, that S3 does at once
	if len(list) == 1 && list[0].has == size && size < biggestCopy {
		_, err = s.client.CopyObject(ctx, minio.CopyDestOptions{Bucket: s.bucket, Object: s.blob(d)}, minio.CopySrcOptions{Bucket: s.bucket, Object: list[0].key})
	} else {
		err = s.join(ctx, list, s.blob(d), size)
	}
	if err != nil {
		return fmt.Errorf("make %s of its upload: %w", d, err)
	}
	return s.Abort(ctx, id)
}

// join writes objects behind each other into one.
func (s *S3) join(ctx context.Context, list []piece, to string, size int64) (err error) {
	f, err := s.scratch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, p := range list {
		o, err := s.client.GetObject(ctx, s.bucket, p.key, minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		_, err = io.CopyN(f, o, p.size)
		if err := errors.Join(err, o.Close()); err != nil {
			return err
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = s.client.PutObject(ctx, s.bucket, to, f, size, options)
	return err
}

// Abort removes all appends.
func (s *S3) Abort(ctx context.Context, id string) error {
	s.shown.Delete(id)
	return s.forget(ctx, id, -1)
}

// Settle has nothing to do: an object that is acknowledged stays.
func (s *S3) Settle(context.Context, ...oci.Digest) error { return nil }

// Open gives an object that is fetched as it is read.
func (s *S3) Open(ctx context.Context, d oci.Digest) (io.ReadSeekCloser, error) {
	o, err := s.client.GetObject(ctx, s.bucket, s.blob(d), minio.GetObjectOptions{})
	if err != nil {
		return nil, missing(err)
	}
	if _, err := o.Stat(); err != nil {
		return nil, errors.Join(missing(err), o.Close())
	}
	return o, nil
}

// Stat asks for the size of an object.
func (s *S3) Stat(ctx context.Context, d oci.Digest) (int64, error) {
	info, err := s.client.StatObject(ctx, s.bucket, s.blob(d), minio.StatObjectOptions{})
	if err != nil {
		return 0, missing(err)
	}
	return info.Size, nil
}

// Delete removes an object.
func (s *S3) Delete(ctx context.Context, d oci.Digest) error {
	err := missing(s.client.RemoveObject(ctx, s.bucket, s.blob(d), minio.RemoveObjectOptions{}))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Walk lists all objects that are blobs.
func (s *S3) Walk(ctx context.Context, visit func(oci.Digest, int64) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop() // of a listing that visit ends
	for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.key(oci.BlobsDir) + "/", Recursive: true}) {
		if o.Err != nil {
			return o.Err
		}
		d, err := oci.ParseDigest(path.Base(path.Dir(o.Key)) + ":" + path.Base(o.Key))
		if err != nil {
			continue
		}
		if err := visit(d, o.Size); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// URL signs an address at which the object can be fetched.
func (s *S3) URL(ctx context.Context, d oci.Digest, valid time.Duration) (string, error) {
	u, err := s.client.PresignedGetObject(ctx, s.bucket, s.blob(d), valid, nil)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// scratch gives a file without a name: it goes with whoever has it open.
func (s *S3) scratch() (*os.File, error) {
	f, err := os.CreateTemp(s.spool, "spool-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
