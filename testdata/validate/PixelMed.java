// Gives files to PixelMed's validators: reports to DicomSRValidator, everything
// to DicomInstanceValidator. Prints what they say, each line with its file and
// validator before it, separated by tabs.
//
// Usage: java -cp CLASSPATH PixelMed.java FILE...

import com.pixelmed.dicom.AttributeList;
import com.pixelmed.dicom.TagFromName;
import com.pixelmed.validate.DicomInstanceValidator;
import com.pixelmed.validate.DicomSRValidator;

public class PixelMed {
    public static void main(String[] files) throws Exception {
        DicomInstanceValidator instance = new DicomInstanceValidator();
        DicomSRValidator report = new DicomSRValidator();
        for (String file : files) {
            try {
                AttributeList list = new AttributeList();
                list.read(file);
                say(file, "DicomInstanceValidator", instance.validate(list));
                if (list.get(TagFromName.ContentSequence) != null) {
                    say(file, "DicomSRValidator", report.validate(list, false, false, true, true, true));
                }
            } catch (Throwable e) {
                say(file, "reading", "Error: " + e);
            }
        }
    }

    static void say(String file, String validator, String text) {
        for (String line : text.split("\\R")) {
            System.out.println(file + "\t" + validator + "\t" + line.strip());
        }
    }
}
