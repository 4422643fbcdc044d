package lab

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// Metrics returns the metrics that the site's daemon serves at an address, such as
// "127.0.0.1:9116".
func (s *Site) Metrics(at string) (text string, err error) {
	err = s.Inside(func() error {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			return err
		}
		defer conn.Close()
		request, err := http.NewRequest("GET", "http://"+at+"/metrics", nil)
		if err != nil {
			return err
		}
		if err := request.Write(conn); err != nil {
			return err
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		text = string(body)
		return err
	})
	return text, err
}
