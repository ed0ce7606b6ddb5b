package server

import (
	"encoding/json"
	"net/http"

	"lighter/api"
)

func (c *containers) stats(w http.ResponseWriter, r *request) error {
	stream := r.query.Get("stream") == "" || r.flag("stream")
	oneShot := r.flag("one-shot") && !r.older("1.41")
	ctx, cancel := untilStop(r.Context())
	defer cancel()
	enc, begun := json.NewEncoder(w), false
	err := c.engine().Control().Stats(ctx, r.name, stream, oneShot, func(s *api.Stats) error {
		begun = true
		if !stream {
			w.Header().Set("Content-Type", "application/json")
			return enc.Encode(s)
		}
		w.Header()["Content-Type"] = nil // Docker tells none of a stream
		if err := enc.Encode(s); err != nil {
			return err
		}
		return http.NewResponseController(w).Flush()
	})
	if begun {
		return ignoreGone(err)
	}
	return err
}
