"""The stage on which the demo and the end-to-end tests play: a repository made with flatpak's own tools, a store
run by the real `flatpass`, a private session bus with a private HOME, and a scripted browser."""
