package registry

import (
	"context"
	"net/http"

	"lighter/oci"
)

// Referrers gives the index of the manifests whose subject is d: one page of it, as most
// registries give it whole. One that does not know the question answers NotFound.
func (r *Repository) Referrers(ctx context.Context, d oci.Digest) ([]byte, error) {
	if !d.Valid() {
		return nil, checkDigest(d)
	}
	resp, err := r.do(ctx, call{method: http.MethodGet, path: "referrers/" + string(d), header: http.Header{"Accept": {oci.MediaIndex}}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return readAll(resp.Body, maxManifest)
}
