package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// Shows reports whether the API has an endpoint that only shows: it changes nothing and sends no
// packets.
func Shows(endpoint string) bool {
	e := endpoints[endpoint]
	return e != nil && e.allowed() == http.MethodGet
}

// Show asks an endpoint that only shows, and returns the daemon's answer as it is, also one that is
// a [Failure]. The caller closes the body. There is no time limit but that of the context, because
// some answers are streams. Show refuses an endpoint that could change something or send packets.
func (c *Client) Show(
	ctx context.Context, endpoint string, query url.Values,
) (*http.Response, error) {
	if !Shows(endpoint) {
		return nil, fmt.Errorf("%s is not an endpoint that only shows", endpoint)
	}
	target := url.URL{
		Scheme: "http", Host: "cygnet", Path: endpoint, RawQuery: query.Encode(),
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: c.http.Transport}).Do(request)
	if err != nil {
		return nil, c.unreachable(err)
	}
	return response, nil
}
