"""What the command line needs beside the commands themselves: progress on a terminal, the user's kubeconfig."""
