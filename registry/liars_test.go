package registry

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lighter/oci"
)

// asks are the questions whose answer is read whole, by what the answer is about.
var asks = map[string]func(t *testing.T, c *Client, f *fake) error{
	"manifests/v1": func(t *testing.T, c *Client, f *fake) error {
		_, _, err := f.repo(c, "a", ann).Manifest(t.Context(), string(oci.FromBytes([]byte("{}"))))
		return err
	},
	"tags": func(t *testing.T, c *Client, f *fake) error {
		_, err := f.repo(c, "a", ann).Tags(t.Context())
		return err
	},
	"token": func(t *testing.T, c *Client, f *fake) error {
		f.token = "wanted"
		_, err := f.repo(c, "a", ann).Tags(t.Context())
		return err
	},
	"login": func(t *testing.T, c *Client, f *fake) error {
		f.token = "wanted"
		_, err := c.Login(t.Context(), f.host(), ann)
		return err
	},
	"search": func(t *testing.T, c *Client, f *fake) error {
		_, err := c.Search(t.Context(), f.host(), "x", 5, Credentials{})
		return err
	},
}

// Whatever is asked, an answer that is HTML, cut off, endless, or comes a byte at a time is an
// error with a sentence, within bounded memory and time.
func TestLyingAnswers(t *testing.T) {
	drip := func(w http.ResponseWriter, r *http.Request, b []byte) {
		for _, c := range b {
			w.Write([]byte{c})
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
		<-r.Context().Done()
	}
	for _, lie := range []struct {
		name     string
		answer   http.HandlerFunc
		wants    []string      // one of them
		patience time.Duration // of those that are about time
	}{
		{"html", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<html><h1>Sign in to the hotel's network")
		}, []string{"not JSON", "manifest verification failed"}, 0},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"tags":["v1"`)
		}, []string{"unexpected EOF"}, 0},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(bytes.Repeat([]byte(" "), 64<<10)); err != nil {
					return
				}
			}
		}, []string{"longer than"}, time.Minute},
		{"drip", func(w http.ResponseWriter, r *http.Request) { drip(w, r, bytes.Repeat([]byte(" "), 50)) }, []string{"sent no whole answer"}, 500 * time.Millisecond},
		{"silence", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, []string{"timeout awaiting response headers"}, 60 * time.Millisecond},
	} {
		for what, ask := range asks {
			t.Run(lie.name+", "+what, func(t *testing.T) {
				t.Parallel()
				f := newFake(t)
				f.meddle = func(w http.ResponseWriter, r *http.Request) bool {
					about := strings.TrimSuffix(what, "/v1")
					if what == "login" {
						about = "token"
					}
					if !strings.Contains(r.URL.Path, about) {
						return false
					}
					lie.answer(w, r)
					return true
				}
				err := ask(t, client(t, Config{Patience: lie.patience, Attempts: 2}), f)
				for _, want := range lie.wants {
					if err != nil && strings.Contains(err.Error(), want) {
						return
					}
				}
				t.Errorf("%v; want one of %q", err, lie.wants)
			})
		}
	}
}

// A blob of which a byte comes now and then is as good as one that does not come; one that
// comes slowly but surely comes.
func TestDrip(t *testing.T) {
	b := bytes.Repeat([]byte("0123456789abcdef"), 8<<10) // 128 kB
	for _, c := range []struct {
		name            string
		piece           int
		every, patience time.Duration // all that comes slowly but surely takes longer than the patience
		want            string
	}{
		{"a byte at a time", 1, 20 * time.Millisecond, 200 * time.Millisecond, "next to nothing"},
		{"8 kB at a time", 8 << 10, 100 * time.Millisecond, time.Second, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			d := f.put(b)
			f.meddle = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/blobs/") {
					return false
				}
				from := 0
				if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); n == 1 {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(b)-1, len(b)))
					w.WriteHeader(206)
				}
				for at := from; at < len(b) && r.Context().Err() == nil; at += c.piece {
					w.Write(b[at:min(at+c.piece, len(b))])
					w.(http.Flusher).Flush()
					select {
					case <-time.After(c.every):
					case <-r.Context().Done():
					}
				}
				return true
			}
			in, err := f.repo(client(t, Config{Patience: c.patience, Attempts: 2}), "a", Credentials{}).Blob(t.Context(), d, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(in)
			if c.want == "" && (err != nil || !bytes.Equal(got, b)) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%d bytes, %v; want %q", len(got), err, c.want)
			}
		})
	}
}

// Each connection ends well, and too soon: what a proxy does that has lost its origin.
func TestTruncated(t *testing.T) {
	b := bytes.Repeat([]byte("whole"), 20_000)
	for _, ranges := range []bool{true, false} {
		f := newFake(t)
		d := f.put(b)
		f.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			if ranges && r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", 50_000, len(b)-1, len(b)))
				w.WriteHeader(206)
				w.(http.Flusher).Flush()
				return true // and nothing of it
			}
			w.Write(b[:50_000])
			w.(http.Flusher).Flush() // no length is said
			return true
		}
		in, err := f.repo(client(t, Config{Attempts: 3}), "a", Credentials{}).Blob(t.Context(), d, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(in)
		if err == nil || !strings.Contains(err.Error(), "at byte 50000 of 100000") || len(got) != 50_000 {
			t.Errorf("ranges %v: %d bytes, %v", ranges, len(got), err)
		}
	}
}

// A list of tags whose pages lead round in a circle has an end.
func TestTagsInCircles(t *testing.T) {
	f := newFake(t)
	var pages atomic.Int32
	f.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			w.Header().Set("Link", fmt.Sprintf(`</v2/a/tags/list?page=%d>; rel="next"`, pages.Add(1)%2))
			io.WriteString(w, `{"tags":[]}`)
			return true
		}
		return false
	}
	if _, err := f.repo(client(t, Config{}), "a", Credentials{}).Tags(t.Context()); err == nil || !strings.Contains(err.Error(), "pages") {
		t.Fatal(err)
	}
}

// A registry that takes an upload's first bytes and no more is given up; where it wants to go
// on at another host, that one is not told who we are.
func TestUploadToLiars(t *testing.T) {
	blob := make([]byte, 16<<20)
	want := oci.Descriptor{Digest: oci.FromBytes(blob), Size: int64(len(blob))}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blob)), nil }
	f, over := newFake(t), make(chan struct{})
	t.Cleanup(func() { close(over) })
	f.meddle = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			<-over
			return true
		}
		return false
	}
	_, _, err := f.repo(client(t, Config{Patience: 500 * time.Millisecond, Attempts: 2}), "a", Credentials{}).Push(t.Context(), Upload{Want: want, Open: open})
	if !errors.Is(err, errSlow) || !strings.Contains(err.Error(), "took nothing") {
		t.Fatal(err)
	}
	var told atomic.Value
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		told.Store("asked, " + r.Header.Get("Authorization"))
		w.WriteHeader(201)
	}))
	defer away.Close()
	f = newFake(t)
	f.token = "secret"
	f.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && r.Header.Get("Authorization") != "" && strings.Contains(r.URL.Path, "uploads") {
			w.Header().Set("Location", away.URL+"/upload")
			w.WriteHeader(202)
			return true
		}
		return false
	}
	if _, _, err = f.repo(client(t, Config{}), "a", ann).Push(t.Context(), Upload{Want: want, Open: open}); err != nil || told.Load() != "asked, " {
		t.Fatal(told.Load(), err)
	}
}

// Who refuses in the middle is asked again with a new token, once; who keeps refusing is believed.
func TestRefusedInTheMiddle(t *testing.T) {
	b := bytes.Repeat([]byte("0123456789"), 10_000)
	for _, status := range []int{401, 403} {
		for _, forGood := range []bool{false, true} {
			f := newFake(t)
			f.token = "first"
			d := f.put(b)
			var asked atomic.Int32
			f.meddle = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/blobs/") || r.Header.Get("Authorization") == "" {
					return false
				}
				switch n := asked.Add(1); {
				case n == 1: // half of it, then it breaks
					w.Header().Set("Content-Length", fmt.Sprint(len(b)))
					w.Write(b[:len(b)/2])
					panic(http.ErrAbortHandler)
				case n == 2 && status == 401, forGood:
					if status == 401 {
						w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token"`, f.URL))
					}
					refuse(w, status, "DENIED", "no more")
					return true
				}
				return false
			}
			in, err := f.repo(client(t, Config{Attempts: 3}), "a", ann).Blob(t.Context(), d, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(in)
			if forGood != (err != nil) || forGood && !Denied(err) || !forGood && !bytes.Equal(got, b) {
				t.Errorf("%d, for good %v: %d bytes, %v", status, forGood, len(got), err)
			}
		}
	}
}

// A token that ends between the beginning of an upload and its bytes is asked for anew, and all bytes are sent again.
func TestTokenEndsInUpload(t *testing.T) {
	blob := bytes.Repeat([]byte("0123456789"), 1_000_000)
	want := oci.Descriptor{Digest: oci.FromBytes(blob), Size: int64(len(blob))}
	for _, readsAll := range []bool{false, true} { // before it refuses
		f := newFake(t)
		f.token = "first"
		var asked, opened atomic.Int32
		f.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || asked.Add(1) > 1 {
				return false
			}
			if readsAll {
				io.Copy(io.Discard, r.Body)
			}
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token"`, f.URL))
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "it has expired")
			return true
		}
		open := func() (io.ReadCloser, error) { opened.Add(1); return io.NopCloser(bytes.NewReader(blob)), nil }
		repo := f.repo(client(t, Config{}), "a", ann)
		_, _, err := repo.Push(t.Context(), Upload{Want: want, Open: open})
		if has, hasErr := repo.Has(t.Context(), want.Digest); err != nil || hasErr != nil || !has || opened.Load() != 2 {
			t.Errorf("reads all %v: it has it %v, the bytes were read %d times, %v, %v", readsAll, has, opened.Load(), err, hasErr)
		}
	}
}

// What an operator keeps in certs.d/HOST: an authority that is asked, even on loopback, and a
// certificate that says who we are.
func TestCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"tags":["%d"]}`, len(r.TLS.PeerCertificates))
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "https://")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	tags := func(files map[string][]byte) ([]string, error) {
		dir := t.TempDir()
		os.Mkdir(filepath.Join(dir, host), 0o755)
		for name, b := range files {
			if err := os.WriteFile(filepath.Join(dir, host, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return client(t, Config{CertsDir: dir, Attempts: 1}).Repository(oci.Reference{Domain: host, Path: "a"}, Credentials{}).Tags(t.Context())
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	if got, err := tags(map[string][]byte{"ca.crt": certificate, "client.cert": certificate, "client.key": keyPEM}); err != nil || got[0] != "1" {
		t.Error(got, err)
	}
	if got, err := tags(map[string][]byte{"ca.crt": certificate}); err != nil || got[0] != "0" {
		t.Error(got, err)
	}
	if _, err := tags(map[string][]byte{"client.cert": certificate}); err == nil || !strings.Contains(err.Error(), "client.key") {
		t.Error(err)
	}
	if _, err := tags(map[string][]byte{"ca.crt": otherAuthority}); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Error(err)
	}
}

// What an operator adds to certs.d counts from then on, without another start.
func TestCertificatesLater(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"tags":[]}`) }))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "https://")
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, host), 0o755)
	ca := filepath.Join(dir, host, "ca.crt")
	c := client(t, Config{CertsDir: dir, Attempts: 1})
	for n, authority := range [][]byte{otherAuthority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})} {
		if err := os.WriteFile(ca, authority, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := c.Repository(oci.Reference{Domain: host, Path: "a"}, Credentials{}).Tags(t.Context())
		if (err == nil) != (n == 1) {
			t.Errorf("authority %d: %v", n, err)
		}
	}
}

// otherAuthority is of somebody whom nobody knows; its key is thrown away.
var otherAuthority = []byte(`-----BEGIN CERTIFICATE-----
MIIBdzCCAR2gAwIBAgIUCajnZ2JUED1H7BykTE5lnkeNaYkwCgYIKoZIzj0EAwIw
EDEOMAwGA1UEAwwFb3RoZXIwIBcNMjYxMTIzMTkzMDU3WhgPMjEyNjEwMzAxOTMw
NTdaMBAxDjAMBgNVBAMMBW90aGVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
GXb6H+RK3fvrrq3s7gFf1wrvWjnvbhh7QB1V8xycfzW0suw2lyl8puVmydoanbyx
XqBBOnd4x/hmIMgKxCpFAKNTMFEwHQYDVR0OBBYEFOJA+oD5kG9pmwQecUe3jxj/
y8ILMB8GA1UdIwQYMBaAFOJA+oD5kG9pmwQecUe3jxj/y8ILMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgXi1saMO3CpIjMeaITssGMIe46sdJmCY2
mfiCxsSRKLsCIQD8IJpSihyr85IGPJrP7KXHcklUJz7Maq8F/N9A8W1xkA==
-----END CERTIFICATE-----
`)
