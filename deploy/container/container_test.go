// Package container holds the files for containers to each other: no engine is
// needed for what they agree on.
package container

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/inference/onnx"
	"github.com/pulmonode/pulmonode/node"
)

const root = "../.."

type service struct {
	Image string
	Build struct{ Context, Dockerfile string }

	Command     []string
	Ports       []string
	Volumes     []string
	Healthcheck struct{ Test []string }
	StopGrace   string `yaml:"stop_grace_period"`
}

func compose(t *testing.T) map[string]service {
	t.Helper()
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]service
		Volumes  map[string]any
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for name, s := range file.Services {
		for _, v := range s.Volumes {
			from := strings.Split(v, ":")[0]
			if strings.HasPrefix(from, "./") {
				if _, err := os.Stat(from); err != nil {
					t.Errorf("%s mounts %s: %v", name, from, err)
				}
			} else if _, ok := file.Volumes[from]; !ok {
				t.Errorf("%s mounts %s, which is no volume", name, from)
			}
		}
	}
	return file.Services
}

// The node, the PACS and the ports between them agree.
func TestComposeAgrees(t *testing.T) {
	services := compose(t)
	cfg, faults := config.Load("node.toml")
	for _, f := range faults {
		t.Errorf("node.toml: %v", f)
	}
	var orthanc struct {
		DicomAet         string
		DicomPort        int
		HttpPort         int
		DicomModalities  map[string][]any
		StorageDirectory string
	}
	text, err := os.ReadFile("orthanc.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &orthanc); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(cfg.Node.Listen)
	if err != nil {
		t.Fatal(err)
	}
	if peer := fmt.Sprint(orthanc.DicomModalities["pulmonode"]); peer != fmt.Sprintf("[%s pulmonode %s]", cfg.Node.AETitle, port) {
		t.Errorf("Orthanc sends to %s", peer)
	}
	if d := cfg.Destination[0]; d.AETitle != orthanc.DicomAet || d.Address != fmt.Sprintf("orthanc:%d", orthanc.DicomPort) {
		t.Errorf("the node sends to %s at %s", d.AETitle, d.Address)
	}
	if cfg.Source[0].AETitle != orthanc.DicomAet {
		t.Errorf("the node lets %s in", cfg.Source[0].AETitle)
	}
	if want := []string{fmt.Sprintf("127.0.0.1:%d:%[1]d", orthanc.HttpPort), fmt.Sprintf("127.0.0.1:%d:%[1]d", orthanc.DicomPort)}; !slices.Equal(services["orthanc"].Ports, want) {
		t.Errorf("Orthanc's ports are %v, want %v", services["orthanc"].Ports, want)
	}
	pulmonode := services["pulmonode"]
	if want := []string{fmt.Sprintf("127.0.0.1:%s:%[1]s", port)}; !slices.Equal(pulmonode.Ports, want) {
		t.Errorf("the node's ports are %v, want %v", pulmonode.Ports, want)
	}
	where := pulmonode.Command[len(pulmonode.Command)-1]
	if !slices.Contains(pulmonode.Volumes, "./node.toml:"+where+":ro") || pulmonode.Healthcheck.Test[len(pulmonode.Healthcheck.Test)-1] != where {
		t.Errorf("serve reads %s, health reads %v, the volumes are %v", where, pulmonode.Healthcheck.Test, pulmonode.Volumes)
	}
	if !slices.Contains(pulmonode.Volumes, "pulmonode:"+cfg.Storage.DataDir) || !slices.Contains(services["orthanc"].Volumes, "orthanc:"+orthanc.StorageDirectory) {
		t.Error("a service keeps what it has in no volume")
	}
	if grace, err := time.ParseDuration(pulmonode.StopGrace); err != nil || grace < 2*node.StopsWithin {
		t.Errorf("the node is killed after %v, %v; it takes up to %v", grace, err, node.StopsWithin)
	}
	if _, tag, ok := strings.Cut(services["orthanc"].Image, ":"); !ok || tag == "latest" {
		t.Errorf("Orthanc's image %s is not pinned", services["orthanc"].Image)
	}
	if _, err := os.Stat(filepath.Join(pulmonode.Build.Context, pulmonode.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
}

// What the container files name is there: images with a tag, sources, a user that
// is not root, the version of ONNX Runtime.
func TestContainerfiles(t *testing.T) {
	for _, name := range []string{"Containerfile", "Containerfile.cuda"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var user string
		for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
			f := strings.Fields(line)
			if len(f) == 0 {
				continue
			}
			switch f[0] {
			case "FROM":
				if _, tag, ok := strings.Cut(f[1], ":"); !ok || tag == "latest" {
					t.Errorf("%s: %s is not pinned", name, f[1])
				}
			case "COPY":
				if !strings.HasPrefix(f[1], "--from=build") {
					if _, err := os.Stat(filepath.Join(root, f[1])); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
			case "USER":
				user = f[1]
			}
		}
		if user != "pulmonode" {
			t.Errorf("%s: it runs as %q", name, user)
		}
		for _, m := range regexp.MustCompile(`deploy/\S+\.txt|libonnxruntime\.so\.([0-9.]+)`).FindAllStringSubmatch(string(text), -1) {
			if m[1] == "" {
				if _, err := os.Stat(filepath.Join(root, m[0])); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if m[1] != onnx.Version {
				t.Errorf("%s: ONNX Runtime %s, the program has %s", name, m[1], onnx.Version)
			}
		}
		if goVersion := goOf(t); !strings.Contains(string(text), "golang:"+goVersion+"-") {
			t.Errorf("%s: its Go is not %s, that of go.mod", name, goVersion)
		}
	}
	gpu, err := os.ReadFile("onnxruntime-gpu.txt")
	if err != nil || !strings.Contains(string(gpu), "onnxruntime-gpu=="+onnx.Version+" ") {
		t.Errorf("onnxruntime-gpu.txt is not of %s: %v", onnx.Version, err)
	}
}

func goOf(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.GoVersion}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(strings.TrimSpace(string(out)), ".")
	return parts[0] + "." + parts[1]
}
