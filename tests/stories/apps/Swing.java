import java.awt.event.ActionEvent;
import java.nio.file.Files;
import java.nio.file.Path;
import javax.swing.AbstractAction;
import javax.swing.JFrame;
import javax.swing.JTextArea;
import javax.swing.KeyStroke;

/** A text area (Swing) whose text is saved by Ctrl+S. */
class Swing {
    public static void main(String[] arguments) {
        JTextArea text = new JTextArea(10, 40);
        text.getInputMap().put(KeyStroke.getKeyStroke("ctrl S"), "save");
        text.getActionMap().put("save", new AbstractAction() {
            public void actionPerformed(ActionEvent event) {
                try {
                    Files.writeString(Path.of(arguments[0]), text.getText());
                } catch (java.io.IOException error) {
                    text.setText(error.toString());
                }
            }
        });
        JFrame frame = new JFrame("Swing");
        frame.add(text);
        frame.pack();
        frame.setVisible(true);
    }
}
