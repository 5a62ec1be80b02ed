"""What is deployed: systemd units, configuration, container, Kubernetes."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def path_of(*parts):
    return os.path.join(ROOT, *parts)


def text_of(*parts):
    with open(path_of(*parts), encoding="utf-8") as file:
        return file.read()


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd is not installed")
class Systemd(unittest.TestCase):
    def test_the_service_is_confined(self):
        done = run("systemd-analyze", "security", "--offline=true", "--threshold=10",
                   path_of("systemd", "ghnd.service"))
        self.assertEqual(0, done.returncode, done.stdout[-2000:] + done.stderr)

    def test_units_are_understood(self):
        with tempfile.TemporaryDirectory() as folder:
            units = []
            for name in ("ghnd.service", "ghnd.socket"):
                # The program need not be installed for its unit to be right.
                text = text_of("systemd", name).replace("/usr/sbin/ghnd", "/bin/true")
                units.append(os.path.join(folder, name))
                with open(units[-1], "w", encoding="utf-8") as file:
                    file.write(text)
            done = run("systemd-analyze", "verify", *units)
            self.assertEqual((0, ""), (done.returncode, done.stderr))

    def test_user_and_folders_are_made(self):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "etc"))
            for program, name in (("systemd-sysusers", "ghnd.sysusers"),
                                  ("systemd-tmpfiles", "ghnd.tmpfiles")):
                options = ["--create"] if program == "systemd-tmpfiles" else []
                done = run(program, f"--root={folder}", *options, path_of("systemd", name))
                if "Permission denied" in done.stderr or "not permitted" in done.stderr:
                    self.skipTest("files cannot be given to another user here")
                self.assertEqual((0, done.stderr), (done.returncode, done.stderr))
            with open(os.path.join(folder, "etc", "passwd"), encoding="utf-8") as file:
                self.assertIn("ghnd:", file.read())
            self.assertTrue(os.path.isdir(os.path.join(folder, "var/lib/ghnd/checkpoints")))


class Configuration(unittest.TestCase):
    def test_every_option_of_the_file_exists(self):
        known = set(re.findall(r'^GHND_\w+\(\w+, "([a-z-]+)"', text_of("daemon", "options.def"),
                               re.M))
        used = re.findall(r"^#?([a-z-]+) = ", text_of("systemd", "ghnd.conf"), re.M)
        self.assertGreater(len(used), 5)
        self.assertEqual(set(), set(used) - known)


class Containers(unittest.TestCase):
    def test_the_image_does_not_run_as_root(self):
        users = re.findall(r"^USER (\S+)$", text_of("deploy", "Dockerfile"), re.M)
        self.assertTrue(users)
        self.assertRegex(users[-1], r"^[1-9][0-9]*:[1-9][0-9]*$")

    def test_kubernetes_objects_belong_together(self):
        try:
            import yaml
        except ImportError:
            self.skipTest("PyYAML is not installed")
        deployment, service = yaml.safe_load_all(text_of("deploy", "kubernetes.yaml"))
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        self.assertEqual(deployment["spec"]["selector"]["matchLabels"], labels)
        self.assertEqual(service["spec"]["selector"], labels)
        pod = deployment["spec"]["template"]["spec"]
        container, = pod["containers"]
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        self.assertEqual(mounts, {volume["name"] for volume in pod["volumes"]})
        self.assertIn(service["spec"]["ports"][0]["targetPort"],
                      [port["name"] for port in container["ports"]])
        self.assertTrue(pod["securityContext"]["runAsNonRoot"])
        user = re.search(r"^USER (\d+)", text_of("deploy", "Dockerfile"), re.M).group(1)
        self.assertEqual(int(user), pod["securityContext"]["runAsUser"])


if __name__ == "__main__":
    unittest.main()
