package distribution

import (
	"context"
	"errors"
	"fmt"

	"lighter/hub/blob"
	"lighter/oci"
)

// WriteIndex writes down beside the blobs which manifest has which name, where the storage
// can be read without us: other programs know its images by REPOSITORY:TAG then. It is
// written now and then, not with each push.
func (g *Registry) WriteIndex(ctx context.Context) error {
	to, ok := g.cfg.Blobs.(blob.Indexer)
	if !ok {
		return nil
	}
	rows, err := g.cfg.DB.Query(ctx, `SELECT r.name, t.name, m.digest, m.media_type, m.size FROM tags t JOIN repositories r ON r.id = t.repo
		JOIN manifests m ON m.repo = t.repo AND m.digest = t.digest ORDER BY r.name, t.name`)
	if err != nil {
		return err
	}
	index := oci.Index{SchemaVersion: 2, MediaType: oci.MediaIndex, Manifests: []oci.Descriptor{}}
	for rows.Next() {
		var repo, tag string
		var d oci.Descriptor
		if err := rows.Scan(&repo, &tag, &d.Digest, &d.MediaType, &d.Size); err != nil {
			return errors.Join(err, rows.Close())
		}
		d.Annotations = map[string]string{"org.opencontainers.image.ref.name": repo + ":" + tag}
		index.Manifests = append(index.Manifests, d)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("read the names of images: %w", err)
	}
	return to.Index(index)
}
