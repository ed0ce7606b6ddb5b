package cli

import "github.com/spf13/cobra"

// commands lists the commands below the program's name. The commands of a noun are
// listed where the noun is.
func (a *App) commands() []entry {
	list := []entry{
		{"run", newRun},
		{"exec", newExec},
		{"ps", newPs},
		{"images", newImages},
		{"version", newVersion},
		{"info", newInfo},

		{"container", newContainer},
		{"image", newImage},
		{"network", newNetwork},
		{"volume", newVolume},
		{"system", newSystem},

		{"builder", newBuilder},

		{"attach", newAttach},
		{"build", newBuild},
		{"commit", newCommit},
		{"cp", newCp},
		{"create", newCreate},
		{"diff", newDiff},
		{"events", newEvents},
		{"export", newExport},
		{"history", newHistory},
		{"import", newImport},
		{"inspect", newInspect},
		{"kill", newKill},
		{"load", newLoad},
		{"login", newLogin},
		{"logout", newLogout},
		{"logs", newLogs},
		{"pause", newPause},
		{"port", newPort},
		{"pull", newPull},
		{"push", newPush},
		{"rename", newRename},
		{"restart", newRestart},
		{"rm", newRm},
		{"rmi", newRmi},
		{"save", newSave},
		{"search", newSearch},
		{"start", newStart},
		{"stats", newStats},
		{"stop", newStop},
		{"tag", newTag},
		{"top", newTop},
		{"unpause", newUnpause},
		{"update", newUpdate},
		{"wait", newWait},

		{"completion", newCompletion},
	}
	if a.docker() {
		return list
	}
	return append(list, []entry{ // which Docker has not
		{"doctor", newDoctor},
		{"explain", newExplain},
		{"web", newWeb},
	}...)
}

// newContainer is `container`, whose commands mostly stand at the top as well.
func newContainer(a *App) *cobra.Command {
	return a.group("container", "Manage containers", []entry{
		{"attach", newAttach},
		{"commit", newCommit},
		{"cp", newCp},
		{"create", newCreate},
		{"diff", newDiff},
		{"exec", newExec},
		{"export", newExport},
		{"inspect", newContainerInspect},
		{"kill", newKill},
		{"logs", newLogs},
		{"ls", newContainerLs},
		{"pause", newPause},
		{"port", newPort},
		{"prune", newContainerPrune},
		{"rename", newRename},
		{"restart", newRestart},
		{"rm", newRm},
		{"run", newRun},
		{"start", newStart},
		{"stats", newStats},
		{"stop", newStop},
		{"top", newTop},
		{"unpause", newUnpause},
		{"update", newUpdate},
		{"wait", newWait},
	})
}

// newSystem is `system`.
func newSystem(a *App) *cobra.Command {
	return a.group("system", "Manage the engine", []entry{
		{"df", newSystemDf},
		{"events", newEvents},
		{"info", newInfo},
		{"prune", newSystemPrune},
	})
}
