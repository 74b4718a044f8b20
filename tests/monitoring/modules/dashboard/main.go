// dashboard: reads a Grafana dashboard and says what its schema, by Grafana's own SDK, does not know in it or misses.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	raw, err := io.ReadAll(os.Stdin)
	var read dashboard.Dashboard
	if err == nil {
		err = read.UnmarshalJSONStrict(raw)
	}
	fail(err)
	fail(read.Validate())
}

// fail ends the program with an error; the SDK's is a list, which may be empty and yet no nil.
func fail(err error) {
	if err != nil && err.Error() != "" {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
