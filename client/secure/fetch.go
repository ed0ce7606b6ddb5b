package secure

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Fetch gets a Dockerfile from a URL, in the words of Docker's errors.
func Fetch(ctx context.Context, url string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read the Dockerfile: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("read the Dockerfile from %s: invalid response status %d", req.URL.Redacted(), answer.StatusCode)
	}
	return answer.Body, nil
}
