package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"minibot/hint"
)

// versions compares the two programs and the running daemon.
func (v *visit) versions(ctx context.Context) []Finding {
	var found []Finding
	if status, err := v.status(); err == nil && status.Version != v.Version {
		mend := v.minibotd("install") // after an upgrade it starts the new one, and has the manager start this one where that was another
		if v.Agent == nil {
			mend = fmt.Sprintf("kill %d", status.PID) // whoever started it starts it anew
		}
		found = append(found, finding(Failure, mend, "minibotd runs as version %s, this program is %s", status.Version, v.Version))
	}
	beside := filepath.Join(filepath.Dir(v.Self), "mb-secrets")
	if _, err := os.Stat(beside); errors.Is(err, fs.ErrNotExist) {
		if path, err := exec.LookPath("mb-secrets"); err == nil {
			beside = path
		}
	}
	said, err := ask(ctx, beside, "version")
	version, isIts := strings.CutPrefix(strings.TrimSpace(said.stdout), "mb-secrets ")
	mend, how := v.replace()
	switch {
	case err != nil:
		found = append(found, finding(Warning, mend, "cannot tell: %v%s", err, how))
	case said.exit != 0 || !isIts || len(strings.Fields(version)) != 1:
		found = append(found, unknown("mb-secrets gives an answer that minibot does not know"))
	case version != v.Version:
		found = append(found, finding(Failure, mend, "mb-secrets is version %s, minibotd is %s%s", version, v.Version, how))
	}
	return orOK(found, "minibotd and mb-secrets are %s", v.Version)
}

// replace is the command that puts both programs in place anew, by the way in which this one came here: Homebrew, or the script of the
// checkout or unpacked release in which it lies. Nothing tells where a program that lies alone came from; then how says what to do.
func (v *visit) replace() (command, how string) {
	if _, keg, brewed := strings.Cut(v.Self, "/Cellar/"); brewed {
		formula, _, _ := strings.Cut(keg, "/")
		return "brew reinstall " + hint.Word(formula), "" // an upgrade does nothing where the version is the formula's
	}
	dir := filepath.Dir(v.Self)
	for _, root := range []string{dir, filepath.Dir(dir)} {
		script := filepath.Join(root, "scripts", "install.sh")
		if _, err := os.Stat(script); err == nil {
			return hint.Word(script), ""
		}
	}
	return "", "; run scripts/install.sh of the release or checkout that both are to come from"
}
